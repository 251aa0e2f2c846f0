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
          <h1>
            <svg viewBox="0 0 24 24" aria-hidden="true">
              <path d="M3 12h18l-3 5.5H6z" />
              <path class="sail" d="M11 3v7H5zM13 5l5 5h-5z" />
              <path class="wave" d="M2 21q2.5-2 5 0t5 0t5 0t5 0" />
            </svg>
            edgeferry
          </h1>
          <p id="facts">{part("facts")}</p>
          <p id="live">
            <span id="connection" role="status" aria-live="polite">Not live</span>
            <button id="pause" type="button" aria-pressed="false" hidden>Pause</button>
          </p>
        </header>
        <main id="main">
          <p id="state" role="status" aria-live="polite">{part("state")}</p>
          <div id="notices">{part("notices")}</div>
          <section aria-labelledby="charts_title" class="bare">
            <div class="head">
              <h2 id="charts_title">Traffic</h2>
              <nav id="ranges" aria-label="How far back the charts go">{part("ranges")}</nav>
            </div>
            <div class="charts">
              <figure id="chart_items">{part("chart_items")}</figure>
              <figure id="chart_queue">{part("chart_queue")}</figure>
              <figure id="chart_age">{part("chart_age")}</figure>
              <figure id="chart_latency">{part("chart_latency")}</figure>
            </div>
          </section>
          <Table
            id="signals"
            title="Signals and books"
            note={
              <>
                <p id="relays">{part("relays")}</p>
                <p>
                  Rates are items a second. Accepted = delivered + rejected + dead + expired + queued, in items{status
                      .durable
                    ? ", kept over restarts"
                    : ", since the start"}.
                </p>
              </>
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
            <div>
              <section aria-labelledby="listeners_title">
                <div class="head">
                  <h2 id="listeners_title">Receiver</h2>
                </div>
                <ul id="listeners" class="cards">{part("listeners")}</ul>
              </section>
              <section aria-labelledby="ways_title">
                <div class="head">
                  <h2 id="ways_title">Collector</h2>
                </div>
                <ul id="ways" class="cards">{part("ways")}</ul>
              </section>
            </div>
            <Table id="certificates" title="Certificates" columns={["For", "Subject", "Ends", "Left#"]}>
              {part("certificates")}
            </Table>
          </div>
          <section aria-labelledby="letters_title">
            <div class="head">
              <h2 id="letters_title">Dead letters</h2>
            </div>
            <p id="letters_note">{part("letters_note")}</p>
            <ul id="letters" class="letters">{part("letters")}</ul>
          </section>
          <Table
            id="senders"
            title="Senders"
            note={<p id="senders_note">{part("senders_note")}</p>}
            columns={["Sender", "Items /s#", "Requests /s#", "Items#", "Last 200", "Refused requests"]}
          >
            {part("senders")}
          </Table>
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

/** A table whose rows change; a column with `#` behind its name has numbers. Where it is narrow, a row is a list (`page_style.ts`). */
function Table(
  { id, title, note, columns, children }: {
    readonly id: PartId;
    readonly title: string;
    readonly note?: Child;
    readonly columns: readonly string[];
    readonly children?: Child;
  },
) {
  // The roles are those that the elements have by themselves, until the style sheet lays them out as lists.
  return (
    <section aria-labelledby={`${id}_title`}>
      <div class="head">
        <h2 id={`${id}_title`}>{title}</h2>
      </div>
      {note}
      <table role="table" aria-labelledby={`${id}_title`}>
        <thead role="rowgroup">
          <tr role="row">
            {columns.map((column) => (
              <th scope="col" role="columnheader" class={column.endsWith("#") ? "n" : ""}>
                {column.replace("#", "")}
              </th>
            ))}
          </tr>
        </thead>
        <tbody id={id} role="rowgroup">{children}</tbody>
      </table>
    </section>
  );
}
