import assert from "node:assert/strict";
import { partHtml, type PartId } from "../../src/admin/page_parts.tsx";
import type { Status } from "../../src/admin/status.ts";
import { AT, outage, statusWith } from "./status_fixture.ts";

/** A part as text. */
function shown(id: PartId, parts: Partial<Status> = {}): string {
  return partHtml(id, statusWith(parts)).replaceAll(/<\/(tr|p)>/g, "\n").replaceAll(/<\/t[hd]>/g, " | ")
    .replaceAll(/<[^>]+>/g, "").split("\n").map((line) => line.trim()).join("\n").trim();
}

Deno.test("the state in one word, or in what is wrong", () => {
  const { health } = statusWith();
  assert.equal(shown("state"), "Ready");
  assert.equal(shown("state", outage()), "Ready, but the Collector does not take everything");
  assert.equal(shown("state", { ...outage(), health: { ...health, ready: false } }), "Not ready");
});

Deno.test("an outage is told with its name, its remedy, its last words and when it is tried again", () => {
  assert.equal(shown("notices"), "");
  assert.equal(
    shown("notices", outage()),
    [
      "Nothing listens at exporter.endpoint connection_refused",
      "To do: start the Collector, or correct the host and port of exporter.endpoint.",
      "All signals: 4 requests failed in a row, the last 3.0 s ago; next attempt in 12 s. What was answered 200 is kept in " +
      "the queue. In its own words: Connection refused (os error 111)",
    ].join("\n"),
  );
  assert.match(shown("notices", { ...outage(), durable: false }), /3\.0 s ago\. Senders are told to try again\./);
});

Deno.test("reasons and warnings of health are told", () => {
  const { health } = statusWith();
  const told = { ...health, ready: false, reasons: ["The queue is full"], warnings: ["The CA certificate ends"] };
  assert.equal(shown("notices", { health: told }), "The queue is full\nThe CA certificate ends");
});

Deno.test("rows: signals, ways, certificates, senders, dead letters", () => {
  assert.equal(
    shown("signals").split("\n")[0],
    "traces | 300 | 299 | 1,000,121 | 1,000,100 | 5 | 6 | 0 | 10 | balanced |",
  );
  const [traces] = statusWith().signals;
  assert.match(shown("signals", { signals: [{ ...traces!, balanced: false }] }), /does not balance/);
  assert.equal(shown("ways"), "All signals | takes | none | https://collector.example:4318 |");
  assert.match(shown("ways", outage()), /failing, 4 in a row .* Nothing listens at .* connection_refused, 3\.0 s ago/);
  assert.equal(shown("certificates"), "client | CN=client-app | 2027-06-14 12:00:00Z | 200 days |");
  assert.equal(
    shown("senders").split("\n")[1],
    "web | 0.25 | 0.25 | 90 | 1 min 30 s ago | 12 throttled, 1 too_large |",
  );
  const [first] = statusWith().senders;
  assert.equal(
    shown("senders", { senders: [{ ...first!, lastUse: undefined }] }),
    "checkout | 880 | 12 | 700,000 | never | none |",
  );
  assert.equal(shown("senders_note"), "Refused before it was known who sent: 3 unauthenticated.");
  assert.match(shown("senders_note", { sendersMore: 4 }), /^4 more are not shown\. /);
  assert.equal(shown("letters"), "2026-11-26 11:59:00Z | web | 6 log records | 400 invalid trace id |");
  assert.equal(shown("letters_note"), "1 in all, 2.0 KiB. queue replay sends them again.");
});

Deno.test("what is empty says so", () => {
  const { health } = statusWith();
  const deadLetters = { records: 0, bytes: 0, recent: [] };
  const empty = { senders: [], deadLetters, health: { ...health, certificates: [] } };
  assert.equal(shown("senders", empty), "Nobody has sent anything yet |");
  assert.equal(shown("letters", empty), "None |");
  assert.equal(shown("letters_note", empty), "");
  assert.equal(shown("certificates", empty), "None in use |");
  assert.match(shown("letters", { deadLetters: { ...deadLetters, recent: undefined } }), /cannot be read; see the log/);
  assert.match(shown("chart_latency", { latency: { count: 0, p50S: undefined, p99S: undefined } }), /none in the last/);
});

Deno.test("what others have written is text, whatever it holds", () => {
  const evil = "<img src=x onerror=alert(1)>\"'&";
  const { deadLetters, health, senders } = statusWith();
  const [certificate] = health.certificates!;
  const [letter] = deadLetters.recent!;
  const status = statusWith({
    senders: [{ ...senders[0]!, sender: evil }],
    health: { ...health, reasons: [evil], warnings: [evil], certificates: [{ ...certificate!, subject: evil }] },
    deadLetters: { ...deadLetters, recent: [{ ...letter!, reason: evil, sender: evil }] },
    ways: outage().ways.map((way) => ({ ...way, url: evil, last: { ...way.last!, cause: evil, at: AT } })),
  });
  for (const id of ["notices", "ways", "certificates", "senders", "letters"] as const) {
    const html = partHtml(id, status);
    assert(!html.includes("<img"), html);
    assert(html.includes("&lt;img src=x onerror=alert(1)&gt;"), id);
  }
});
