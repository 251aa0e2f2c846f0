import assert from "node:assert/strict";
import { partHtml, type PartId } from "../../src/admin/page_parts.tsx";
import type { Status } from "../../src/admin/status.ts";
import { faultNamed } from "../../src/diagnosis/faults.ts";
import { AT, oldLetters, outage, statusWith } from "./status_fixture.ts";

/** A part as text. */
function shown(id: PartId, parts: Partial<Status> = {}): string {
  return partHtml(id, statusWith(parts)).replaceAll(/<\/(tr|p)>/g, "\n").replaceAll(/<\/t[hd]>/g, " | ")
    .replaceAll(/<[^>]+>/g, "").split("\n").map((line) => line.trim()).join("\n").trim();
}

Deno.test("the state is a badge and one sentence", () => {
  assert.equal(shown("state"), "ReadyWhat is answered 200 is on disk, and the Collector takes it.");
  assert.match(partHtml("state", statusWith(outage())), /<strong class="badge warn">Collector takes nothing<\/strong>/);
});

Deno.test("an outage is told with its remedy, its name, its last words and when it is tried again", () => {
  assert.equal(shown("notices"), "");
  assert.equal(
    shown("notices", outage()),
    [
      "To do: start the Collector, or correct the host and port of exporter.endpoint. connection_refused",
      "All signals: 4 requests failed in a row, the last 3.0 s ago; next attempt in 12 s. What was answered 200 is kept in " +
      "the queue. In its own words: Connection refused (os error 111)",
    ].join("\n"),
  );
  assert.match(shown("notices", { ...outage(), durable: false }), /3\.0 s ago\. Senders are told to try again\./);
});

Deno.test("where signals fail in several ways, each is named: one of them in the sentence", () => {
  const [way] = outage().ways;
  const other = { ...way!, signals: ["logs" as const], last: { ...way!.last!, fault: faultNamed("no_such_path") } };
  const ways = [{ ...way!, signals: ["traces" as const] }, other];
  const said = shown("state", { ways }) + shown("notices", { ways });
  for (const { last } of ways) assert.equal(said.split(last!.fault.what).length, 2, last!.fault.code);
});

Deno.test("a range is chosen by a link, where there is a choice", () => {
  const { view } = statusWith();
  assert.equal(
    partHtml("ranges", statusWith()),
    '<a href="?range=15min">15 min</a><a href="?range=1h" aria-current="true">1 h</a>',
  );
  assert.equal(partHtml("ranges", statusWith({ view: { ...view, offered: ["15min"], range: "15min" } })), "");
});

Deno.test("reasons and warnings of health are told", () => {
  const { health } = statusWith();
  const told = { ...health, ready: false, reasons: ["The queue is full"], warnings: ["The CA certificate ends"] };
  assert.equal(shown("state", { health: told }), "Not readyThe queue is full.");
  assert.equal(shown("notices", { health: told }), "The CA certificate ends");
  const both = { ...told, reasons: ["The queue is full", "The certificate has ended"] };
  assert.equal(shown("notices", { health: both }), "The certificate has ended\nThe CA certificate ends");
});

Deno.test("rows: signals, listeners, ways, certificates, senders", () => {
  assert.equal(
    shown("signals").split("\n")[0],
    "traces | 300 | 299 | 1,000,121 | 1,000,100 | 5 | 6 | 0 | 10 | balanced |",
  );
  const [traces] = statusWith().signals;
  assert.match(shown("signals", { signals: [{ ...traces!, balanced: false }] }), /do not balance/);
  assert.equal(
    shown("listeners"),
    "http://127.0.0.1:4319accepts OTLP/HTTP, 1 connection open\n" +
      "http://127.0.0.1:4327accepts OTLP/gRPC, 1,200 connections open",
  );
  const { health } = statusWith();
  const [byHttp, byGrpc] = health.listeners;
  const stuck = { ...health, listeners: [byHttp!, { ...byGrpc!, accepting: false }] };
  assert.match(shown("listeners", { health: stuck }), /4327accepts nothing OTLP\/gRPC/);
  assert.match(shown("listeners", { health: { ...health, listeners: [] } }), /no listener of its own/);
  assert.equal(shown("ways"), "https://collector.example:4318takes all signals");
  assert.match(
    shown("ways", outage()),
    /failing traces, metrics, logs, profiles, 4 in a row\nNothing listens at .* connection_refused 3\.0 s ago/,
  );
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
});

Deno.test("where there are several targets each has its own books, and a signal its rates", () => {
  const [traces] = statusWith().signals;
  const { signal: _signal, taken: _taken, sent: _sent, targets: _targets, ...books } = traces!;
  const eu = { ...books, target: "eu" };
  const us = { ...books, target: "us", delivered: 999_990, queued: 120, balanced: false };
  assert.deepEqual(shown("signals", { signals: [{ ...traces!, balanced: false, targets: [eu, us] }] }).split("\n"), [
    "traces | 300 | 299 |  |",
    "traces to eu |  | 1,000,121 | 1,000,100 | 5 | 6 | 0 | 10 | balanced |",
    "traces to us |  | 1,000,121 | 999,990 | 5 | 6 | 0 | 120 | do not balance |",
  ]);
});

Deno.test("profiles are shown once they are used", () => {
  const { signals } = statusWith();
  assert.doesNotMatch(shown("signals") + shown("ways"), /profiles/);
  const used = signals.map((row) => row.signal === "profiles" ? { ...row, accepted: 1, queued: 1 } : row);
  assert.match(shown("signals", { signals: used }), /^profiles \| 0 \| 0 \| 1 /m);
});

Deno.test("a fault that has healed is one quiet line", () => {
  const [way] = outage().ways;
  assert.equal(
    shown("ways", { ways: [{ ...way!, state: "takes", failures: 0 }] }),
    "https://collector.example:4318takes all signals\n" +
      "Healed fault, 3.0 s ago: Nothing listens at exporter.endpoint connection_refused",
  );
});

Deno.test("each Collector is a card, with a line for the signals that fare alike", () => {
  const [way] = statusWith().ways;
  const html = partHtml(
    "ways",
    statusWith({
      ways: [
        { ...way!, signals: ["traces"] },
        { ...way!, signals: ["metrics"], state: "refuses" },
        { ...way!, signals: ["logs"], url: "https://logs.example/v1/logs" },
      ],
    }),
  );
  assert.deepEqual([...html.matchAll(/<h3>(.*?)<\/h3>/g)].map(([, name]) => name), [
    "https://collector.example:4318",
    "https://logs.example",
  ]);
  assert.equal(html.split('class="dot').length, 4);
});

Deno.test("what is empty says so", () => {
  const { health } = statusWith();
  const empty = { senders: [], health: { ...health, certificates: [] } };
  assert.equal(shown("senders", empty), "Nobody has sent anything yet |");
  assert.equal(shown("certificates", empty), "None in use |");
  assert.match(
    shown("chart_latency", { latency: { count: 0, p50S: undefined, p99S: undefined } }),
    /none in the last minute/,
  );
});

Deno.test("what others have written is text, whatever it holds", () => {
  const evil = "<img src=x onerror=alert(1)>\"'&";
  const { health, senders } = statusWith();
  const { deadLetters } = oldLetters();
  const [certificate] = health.certificates!;
  const [letter] = deadLetters.groups!;
  const status = statusWith({
    senders: [{ ...senders[0]!, sender: evil }],
    health: { ...health, reasons: [evil], warnings: [evil], certificates: [{ ...certificate!, subject: evil }] },
    deadLetters: { ...deadLetters, groups: [{ ...letter!, reason: evil, sender: evil }] },
    ways: outage().ways.map((way) => ({ ...way, url: evil, last: { ...way.last!, cause: evil, at: AT } })),
  });
  for (const id of ["notices", "ways", "certificates", "senders", "letters"] as const) {
    const html = partHtml(id, status);
    assert(!html.includes("<img"), html);
    assert(html.includes("&lt;img src=x onerror=alert(1)&gt;"), id);
  }
});

Deno.test("a shared queue names the relays that live, and those whose records are about to be another's", () => {
  const relay = { role: "exporter", version: 1, startedAt: AT, alive: true, owns: 0 };
  const html = partHtml(
    "relays",
    statusWith({
      relays: [
        { ...relay, name: "one", role: "receiver" },
        { ...relay, name: "two", owns: 12 },
        { ...relay, name: "three", alive: false, owns: 3 },
        { ...relay, name: "four", alive: false },
      ],
    }),
  );
  assert.match(html, /Live: one \(receiver\), two \(exporter, holds 12\)\./);
  assert.match(html, /Gone, and about to be relieved: three \(exporter, holds 3\)\./);
  assert.doesNotMatch(html, /four/);
  assert.equal(partHtml("relays", statusWith()), "");
});
