/**
 * How the status page looks: one style sheet, light and dark, from a phone's width on. Sections are containers: a table that has no
 * room for its columns becomes a list, wherever it stands.
 * @module
 */

/** A table's rows as lists: each cell under its own heading, the whole under the row's name. */
const listed = (body: string): string => `
  table:has(> ${body}) > thead { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); }
  table:has(> ${body}), ${body} { display: block; }
  ${body} > tr {
    display: grid; grid-template-columns: repeat(auto-fill, minmax(92px, 1fr)); gap: 8px 12px;
    padding: 12px 20px 14px; border-top: 1px solid var(--line);
  }
  ${body} th, ${body} td { display: block; padding: 0; border: 0; text-align: left; min-width: 0; }
  ${body} th, ${body} td.none { grid-column: 1 / -1; }
  ${body} td.words { grid-column: auto / span 2; }
  ${body} th { font-size: 14px; }
  ${body} td[data-label]::before { content: attr(data-label); display: block; color: var(--soft); font-size: 12px; line-height: 1.3; }`;

/** Stands in the page; its hash is in the page's Content-Security-Policy. */
export const STYLE = `
:root {
  color-scheme: light dark;
  --ground: #f4f6f8; --card: #fff; --ink: #16202a; --soft: #55626f; --line: #e3e8ed; --deep: #c9d2da;
  --first: #1769c4; --fill: #1769c41f; --broad: #7fb2ea; --second: #b4530a;
  --good: #0e7a4a; --warn: #8a5b00; --bad: #bd2b21; --idle: #7a8791;
  --good-ground: #e7f5ee; --warn-ground: #fdf3dc; --bad-ground: #fdebe9; --code: #eef2f6;
  --shadow: 0 1px 2px #1420300a, 0 2px 8px #1420300a; --focus: #1769c4;
}
@media (prefers-color-scheme: dark) {
  :root {
    --ground: #0e1216; --card: #161c22; --ink: #e7ecf1; --soft: #98a5b1; --line: #242d36; --deep: #36424e;
    --first: #69b1ff; --fill: #69b1ff21; --broad: #34689f; --second: #f2a65e;
    --good: #5fd197; --warn: #e8b84a; --bad: #ff8b80; --idle: #7b8894;
    --good-ground: #122b20; --warn-ground: #2e2510; --bad-ground: #351a18; --code: #1f2831;
    --shadow: none; --focus: #69b1ff;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0; background: var(--ground); color: var(--ink);
  font: 14px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Liberation Sans", sans-serif;
  font-variant-numeric: tabular-nums; -webkit-text-size-adjust: 100%;
}
header, main, footer { max-width: 1640px; margin: 0 auto; padding: 0 28px; }
header { display: flex; flex-wrap: wrap; align-items: center; gap: 4px 20px; padding-top: 18px; padding-bottom: 14px; }
h1 { display: flex; align-items: center; gap: 8px; font-size: 15px; font-weight: 650; letter-spacing: -.01em; margin: 0; }
h1 svg { width: 22px; height: 22px; fill: var(--first); }
h1 .sail { fill: var(--broad); } h1 .wave { fill: none; stroke: var(--first); stroke-width: 1.5; }
h2 { font-size: 16px; font-weight: 650; letter-spacing: -.01em; margin: 0; }
h3 { font-size: 13px; font-weight: 600; margin: 0; overflow-wrap: anywhere; }
p { margin: 0; }
ul { list-style: none; margin: 0; padding: 0; }
#facts { display: flex; flex-wrap: wrap; gap: 0 14px; color: var(--soft); font-size: 13px; }
#live { margin: 0 0 0 auto; color: var(--soft); font-size: 13px; display: flex; gap: 12px; align-items: center; }
button, nav a {
  font: inherit; font-size: 13px; color: var(--ink); background: var(--card); border: 1px solid var(--deep);
  border-radius: 7px; padding: 2px 12px; min-height: 28px; cursor: pointer; text-decoration: none;
}
button:hover, nav a:hover { border-color: var(--soft); }
:focus-visible { outline: 2px solid var(--focus); outline-offset: 2px; }
.skip { position: absolute; left: -9999px; }
.skip:focus { position: static; padding: 4px 8px; }
.good { color: var(--good); } .warn { color: var(--warn); } .bad { color: var(--bad); } .soft { color: var(--soft); }
#state { margin: 10px 0 26px; display: flex; flex-direction: column; align-items: flex-start; gap: 12px; }
.badge { display: inline-flex; align-items: center; gap: 8px; padding: 4px 13px 4px 11px; border-radius: 99px; font-size: 14px; font-weight: 600; }
.badge::before, .dot::before { content: ""; flex: none; display: inline-block; width: 8px; height: 8px; border-radius: 50%; background: currentColor; }
.badge.warn::before, .dot.warn::before { border-radius: 1px; transform: rotate(45deg); }
.badge.bad::before, .dot.bad::before { border-radius: 1px; }
.badge.good { background: var(--good-ground); } .badge.warn { background: var(--warn-ground); } .badge.bad { background: var(--bad-ground); }
.sentence { font-size: clamp(20px, 2.1vw, 28px); font-weight: 600; line-height: 1.25; letter-spacing: -.02em; max-width: 44em; overflow-wrap: anywhere; text-wrap: balance; }
#notices:empty { display: none; }
#notices { display: grid; gap: 10px; margin-bottom: 26px; }
.notice { border: 1px solid color-mix(in srgb, var(--bad) 30%, transparent); background: var(--bad-ground); padding: 12px 16px; border-radius: 10px; overflow-wrap: anywhere; }
.notice.mild { border-color: color-mix(in srgb, var(--warn) 30%, transparent); background: var(--warn-ground); }
.notice p + p { margin-top: 3px; } .notice .soft { font-size: 13px; }
.todo b { font-weight: 600; margin-right: 4px; }
.code, code { font-family: ui-monospace, SFMono-Regular, Menlo, "Liberation Mono", monospace; font-size: 12px; }
.code { color: var(--soft); }
q { quotes: none; } q::before, q::after { content: none; }
section { container-type: inline-size; background: var(--card); border: 1px solid var(--line); border-radius: 12px; box-shadow: var(--shadow); margin: 0 0 18px; padding: 16px 0 8px; min-width: 0; }
section.bare { background: none; border: 0; box-shadow: none; padding: 0; margin-bottom: 18px; }
.head { display: flex; flex-wrap: wrap; align-items: center; justify-content: space-between; gap: 6px 16px; padding: 0 20px; }
.bare .head { padding: 0 0 10px; min-height: 38px; }
section > p { padding: 0 20px; margin: 2px 0 8px; color: var(--soft); font-size: 13px; max-width: 90em; }
section > p:empty { display: none; }
nav { display: flex; gap: 0; } nav:empty { display: none; }
nav a { border-radius: 0; margin-left: -1px; padding: 3px 12px; color: var(--soft); line-height: 20px; }
nav a:first-child { border-radius: 7px 0 0 7px; } nav a:last-child { border-radius: 0 7px 7px 0; }
nav a[aria-current] { color: var(--ink); font-weight: 600; background: var(--code); position: relative; }
.charts { display: grid; grid-template-columns: repeat(4, minmax(0, 1fr)); gap: 14px; }
@container (max-width: 1120px) { .charts { grid-template-columns: repeat(2, minmax(0, 1fr)); } }
@container (max-width: 560px) { .charts { grid-template-columns: minmax(0, 1fr); } }
figure { background: var(--card); border: 1px solid var(--line); border-radius: 12px; box-shadow: var(--shadow); margin: 0; min-width: 0; padding: 14px 18px 10px; }
figcaption { display: flex; flex-wrap: wrap; justify-content: space-between; gap: 0 12px; align-items: baseline; }
figcaption h3 { color: var(--soft); font-weight: 500; }
.now { font-size: 22px; font-weight: 650; letter-spacing: -.02em; line-height: 1.4; width: 100%; }
.now .soft { font-weight: 400; font-size: 14px; letter-spacing: 0; }
.legend { display: flex; gap: 12px; color: var(--soft); font-size: 12px; white-space: nowrap; }
.legend span::before { content: ""; display: inline-block; width: 14px; height: 2px; margin-right: 6px; vertical-align: 3px; border-radius: 2px; background: var(--first); }
.legend .under::before { height: 5px; vertical-align: 1px; background: var(--broad); }
.legend .second::before { background: var(--second); }
svg { display: block; }
figure svg { width: 100%; height: 96px; overflow: visible; }
.grid { stroke: var(--line); stroke-width: 1; vector-effect: non-scaling-stroke; }
.line, .line2 { fill: none; stroke: var(--first); stroke-width: 1.75; vector-effect: non-scaling-stroke; stroke-linejoin: round; stroke-linecap: round; }
.broad { stroke: var(--broad); stroke-width: 5; }
.line2 { stroke: var(--second); stroke-width: 1.5; }
.area { fill: var(--fill); }
.scale { display: flex; justify-content: space-between; color: var(--soft); font-size: 12px; margin-top: 5px; }
.top { color: var(--soft); font-size: 12px; text-align: right; line-height: 1; margin-bottom: 3px; }
.pair { display: grid; grid-template-columns: repeat(2, minmax(0, 1fr)); gap: 0 18px; }
@media (max-width: 1120px) { .pair { grid-template-columns: minmax(0, 1fr); } }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 300px), 1fr)); gap: 0 1px; margin-top: 6px; }
.card { padding: 10px 20px 12px; border-top: 1px solid var(--line); }
.ways li { margin-top: 6px; font-size: 13px; } .ways b { font-weight: 500; }
.ways p { overflow-wrap: anywhere; }
.path { margin-left: 8px; }
.dot { display: inline-flex; align-items: center; gap: 7px; font-weight: 600; margin-right: 6px; }
.dot.idle { color: var(--soft); font-weight: 500; } .dot.idle::before { background: none; border: 1.5px solid var(--idle); }
.letters > li { padding: 11px 20px 13px; border-top: 1px solid var(--line); font-size: 13px; }
.letters .reason { font-size: 14px; overflow-wrap: anywhere; } .letters .reason b { font-weight: 600; margin-right: 6px; }
.command { display: block; margin-top: 7px; padding: 7px 11px; border-radius: 7px; background: var(--code); overflow-wrap: anywhere; user-select: all; cursor: text; }
table { border-collapse: collapse; width: 100%; font-size: 13px; margin-top: 4px; }
th, td { text-align: left; padding: 7px 10px; border-top: 1px solid var(--line); vertical-align: top; }
thead th { border-top: 0; color: var(--soft); font-weight: 500; font-size: 12px; white-space: nowrap; }
tbody th { font-weight: 600; } tbody th.target { font-weight: 400; padding-left: 34px; }
th:first-child, td:first-child { padding-left: 20px; } th:last-child, td:last-child { padding-right: 20px; }
.n { text-align: right; white-space: nowrap; }
td.words, .name { overflow-wrap: anywhere; }
td.words { min-width: 120px; }
.none { color: var(--soft); }
.letters > .none { border: 0; padding: 2px 20px 8px; }
footer { color: var(--soft); padding-top: 4px; padding-bottom: 28px; font-size: 13px; }
a { color: var(--first); }
@container (max-width: 860px) { ${listed("#signals")} }
@container (max-width: 640px) { ${listed("#senders")} }
@container (max-width: 460px) { ${listed("#certificates")} }
@media (max-width: 600px) {
  header, main, footer { padding-left: 14px; padding-right: 14px; }
  #live { margin-left: 0; width: 100%; justify-content: space-between; }
  #state { margin-top: 6px; }
  figure { padding: 11px 16px 9px; } figure svg { height: 60px; }
  .charts { gap: 10px; }
  .head, section > p { padding-left: 16px; padding-right: 16px; } .bare .head { padding-left: 0; padding-right: 0; }
  .card, .letters > li { padding-left: 16px; padding-right: 16px; }
}
`;
