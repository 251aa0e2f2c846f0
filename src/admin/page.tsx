/**
 * The status page: what stands still around the parts that change. No assets from elsewhere, nothing that can be pressed but a
 * pause, one script and one style sheet, both by their hash in its Content-Security-Policy.
 * @module
 */
// Said here too: a program that uses the library has a configuration of its own.
/** @jsxRuntime automatic */
/** @jsxImportSource hono/jsx */
import { createHash } from "node:crypto";
import { raw } from "hono/html";
import type { Child } from "hono/jsx";
import { type PartId, PARTS } from "./page_parts.tsx";
import { SCRIPT } from "./page_script.ts";
import { STYLE } from "./page_style.ts";
import type { Status } from "./status.ts";

/** What a browser lets the page do: nothing but this. */
export const PAGE_HEADERS: Readonly<Record<string, string>> = {
  "content-security-policy": [
    "default-src 'none'",
    `script-src ${hashOf(SCRIPT)}`,
    `style-src ${hashOf(STYLE)}`,
    "img-src data:",
    "connect-src 'self'",
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
  ].join("; "),
  "cache-control": "no-store",
  "referrer-policy": "no-referrer",
  "x-content-type-options": "nosniff",
  "cross-origin-resource-policy": "same-origin",
  "cross-origin-opener-policy": "same-origin",
};

function hashOf(text: string): string {
  return `'sha256-${createHash("sha256").update(text).digest("base64")}'`;
}

/** The whole page as it is now. */
export function pageHtml(status: Status): string {
  const part = (id: PartId): Child => PARTS[id](status);
  return "<!doctype html>" + String(
    <html lang="en">
      <head>
        <meta charset="utf-8" />
        <meta name="viewport" content="width=device-width, initial-scale=1" />
        <title>edgeferry</title>
        <link rel="icon" href="data:," />
        <style>{raw(STYLE)}</style>
        <noscript>
          <meta http-equiv="refresh" content="10" />
        </noscript>
      </head>
      <body>
        <a class="skip" href="#main">Skip to the state of the relay</a>
        <header>
          <h1>edgeferry</h1>
          <p id="state" role="status" aria-live="polite">{part("state")}</p>
          <p id="facts">{part("facts")}</p>
          <p id="live">
            <span id="connection" role="status" aria-live="polite">Not live</span>
            <button id="pause" type="button" aria-pressed="false" hidden>Pause</button>
          </p>
        </header>
        <main id="main">
          <div id="notices">{part("notices")}</div>
          <div class="charts">
            <figure id="chart_items">{part("chart_items")}</figure>
            <figure id="chart_queue">{part("chart_queue")}</figure>
            <figure id="chart_age">{part("chart_age")}</figure>
            <figure id="chart_latency">{part("chart_latency")}</figure>
          </div>
          <Table
            id="signals"
            title="Signals and books"
            note={
              <p>
                Rates are items a second; the books are in items{status.durable
                  ? ", kept across restarts"
                  : ", since the start"}.
              </p>
            }
            columns={[
              "Signal",
              "In /s#",
              "Out /s#",
              "Accepted#",
              "Delivered#",
              "Rejected#",
              "Dead#",
              "Expired#",
              "Queued#",
              "Books",
            ]}
          >
            {part("signals")}
          </Table>
          <div class="pair">
            <Table id="ways" title="Collector" columns={["Signals", "State", "Last error", "Address"]}>
              {part("ways")}
            </Table>
            <Table id="certificates" title="Certificates" columns={["For", "Subject", "Ends", "Left#"]}>
              {part("certificates")}
            </Table>
          </div>
          <div class="pair">
            <Table
              id="senders"
              title="Senders"
              note={<p id="senders_note">{part("senders_note")}</p>}
              columns={["Sender", "Items /s#", "Requests /s#", "Items#", "Last 200", "Refused requests"]}
            >
              {part("senders")}
            </Table>
            <Table
              id="letters"
              title="Dead letters"
              note={<p id="letters_note">{part("letters_note")}</p>}
              columns={["Set aside", "Sender", "Items#", "Why, in the Collector's words"]}
            >
              {part("letters")}
            </Table>
          </div>
        </main>
        <footer>
          <p>
            As data: <a href="metrics">metrics</a>,{" "}
            <a href="readyz">readiness</a>. Rates of senders are of the last minute, other rates of the last 10 s;
            counts of senders are since the start.
          </p>
        </footer>
        <script>{raw(SCRIPT)}</script>
      </body>
    </html>,
  );
}

/** A table whose rows change; a column with `#` behind its name has numbers. It scrolls by itself where it is too wide. */
function Table(
  { id, title, note, columns, children }: {
    readonly id: PartId;
    readonly title: string;
    readonly note?: Child;
    readonly columns: readonly string[];
    readonly children?: Child;
  },
) {
  return (
    <section aria-labelledby={`${id}_title`}>
      <h2 id={`${id}_title`}>{title}</h2>
      {note}
      <div class="scroll" role="region" tabindex={0} aria-labelledby={`${id}_title`}>
        <table aria-labelledby={`${id}_title`}>
          <thead>
            <tr>
              {columns.map((column) => (
                <th scope="col" class={column.endsWith("#") ? "n" : ""}>{column.replace("#", "")}</th>
              ))}
            </tr>
          </thead>
          <tbody id={id}>{children}</tbody>
        </table>
      </div>
    </section>
  );
}
