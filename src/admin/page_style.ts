/**
 * How the status page looks: one style sheet, light and dark, from a phone's width on.
 * @module
 */

/** Stands in the page; its hash is in the page's Content-Security-Policy. */
export const STYLE = `
:root {
  color-scheme: light dark;
  --ground: #f6f7f7; --card: #fff; --ink: #1b2024; --soft: #57606a; --line: #dfe3e6;
  --first: #0b63b0; --fill: #0b63b01a; --second: #a8530c; --good: #1c7440; --warn: #8a5a00; --bad: #b3261e;
  --bad-ground: #fdf1f0; --warn-ground: #fcf6e8; --focus: #0b63b0;
}
@media (prefers-color-scheme: dark) {
  :root {
    --ground: #14171a; --card: #1b1f23; --ink: #e4e7ea; --soft: #9aa4ad; --line: #2d333a;
    --first: #6cb0f2; --fill: #6cb0f224; --second: #e39b5c; --good: #63c28b; --warn: #d9a83f; --bad: #f2857c;
    --bad-ground: #2c1d1d; --warn-ground: #2a2418; --focus: #6cb0f2;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0; background: var(--ground); color: var(--ink);
  font: 14px/1.45 system-ui, -apple-system, "Segoe UI", Roboto, "Liberation Sans", sans-serif;
  font-variant-numeric: tabular-nums;
}
header, main, footer { max-width: 1240px; margin: 0 auto; padding: 0 20px; }
header { display: flex; flex-wrap: wrap; align-items: baseline; gap: 4px 18px; padding-top: 18px; padding-bottom: 10px; }
h1 { font-size: 18px; font-weight: 600; margin: 0; }
h2 { font-size: 13px; font-weight: 600; margin: 0; }
#state { margin: 0; font-weight: 600; }
#facts { margin: 0; color: var(--soft); }
#live { margin: 0 0 0 auto; color: var(--soft); display: flex; gap: 10px; align-items: baseline; }
button {
  font: inherit; font-size: 13px; color: var(--ink); background: var(--card); border: 1px solid var(--line);
  border-radius: 5px; padding: 1px 12px; min-height: 28px; cursor: pointer;
}
button:hover { border-color: var(--soft); }
:focus-visible { outline: 2px solid var(--focus); outline-offset: 2px; }
.skip { position: absolute; left: -9999px; }
.skip:focus { position: static; padding: 4px 8px; }
.good { color: var(--good); } .warn { color: var(--warn); } .bad { color: var(--bad); } .soft { color: var(--soft); }
#notices:empty { display: none; }
.notice { border-left: 3px solid var(--bad); background: var(--bad-ground); padding: 9px 14px; margin: 0 0 12px; border-radius: 3px; }
.notice.mild { border-color: var(--warn); background: var(--warn-ground); }
.notice p { margin: 0; overflow-wrap: anywhere; } .notice p + p { margin-top: 2px; }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(260px, 1fr)); gap: 12px; margin-bottom: 12px; }
.pair { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 480px), 1fr)); gap: 12px; margin-bottom: 12px; align-items: start; }
section, figure { background: var(--card); border: 1px solid var(--line); border-radius: 6px; margin: 0; min-width: 0; }
section { margin-bottom: 12px; padding: 12px 0 4px; }
.pair section { margin-bottom: 0; }
section h2, section > p { padding: 0 16px; }
section > p { margin: 2px 0 6px; color: var(--soft); font-size: 13px; }
section > p:empty { display: none; }
figure { padding: 12px 16px 8px; }
figcaption { display: flex; flex-wrap: wrap; justify-content: space-between; gap: 0 12px; align-items: baseline; }
figcaption strong { font-weight: 600; font-size: 13px; white-space: nowrap; }
.now { font-size: 17px; font-weight: 600; width: 100%; } .now .soft { font-weight: 400; }
.legend { display: flex; gap: 12px; color: var(--soft); font-size: 12px; white-space: nowrap; }
.legend span::before { content: ""; display: inline-block; width: 14px; margin-right: 5px; vertical-align: 3px; border-top: 2px solid var(--first); }
.legend .second::before { border-top-color: var(--second); }
svg { display: block; width: 100%; height: 72px; overflow: visible; }
.grid { stroke: var(--line); stroke-width: 1; vector-effect: non-scaling-stroke; }
.line, .line2 { fill: none; stroke: var(--first); stroke-width: 1.5; vector-effect: non-scaling-stroke; stroke-linejoin: round; stroke-linecap: round; }
.line2 { stroke: var(--second); }
.area { fill: var(--fill); }
.scale { display: flex; justify-content: space-between; color: var(--soft); font-size: 12px; margin-top: 3px; }
.top { color: var(--soft); font-size: 12px; text-align: right; line-height: 1; margin-bottom: 2px; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: 13px; }
th, td { text-align: left; padding: 5px 10px; border-top: 1px solid var(--line); white-space: nowrap; vertical-align: top; }
thead th { border-top: 0; color: var(--soft); font-weight: 500; font-size: 12px; }
tbody th { font-weight: 500; }
th:first-child, td:first-child { padding-left: 16px; } th:last-child, td:last-child { padding-right: 16px; }
.n { text-align: right; }
.words { white-space: normal; overflow-wrap: anywhere; min-width: 150px; }
.address { white-space: normal; }
.name { max-width: 260px; overflow: hidden; text-overflow: ellipsis; }
.none { color: var(--soft); }
footer { color: var(--soft); padding-bottom: 24px; font-size: 13px; }
a { color: var(--first); }
@media (max-width: 560px) {
  header, main, footer { padding-left: 12px; padding-right: 12px; }
  #live { margin-left: 0; width: 100%; justify-content: space-between; }
  section h2, section > p { padding: 0 12px; }
  th:first-child, td:first-child { padding-left: 12px; }
}
`;
