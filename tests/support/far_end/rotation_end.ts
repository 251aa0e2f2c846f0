/** The end of a rotation under load, whichever end's certificates were rotated. */
import assert from "node:assert/strict";
import type { EmbeddedCollector } from "../../../src/collector/server.ts";
import type { Relay } from "../../../src/relay/relay.ts";
import type { Journal } from "../relay/exporting.ts";
import type { IdentityRelay } from "../relay/identity_relay.ts";
import { booksIn } from "../relay/relay.ts";

export interface RotationEnd {
  readonly relay: Relay;
  readonly here: IdentityRelay;
  readonly collector: EmbeddedCollector;
  /** What the Collector has received, an entry a request. */
  readonly seen: Journal<unknown>;
  /** Items that were answered 200. */
  readonly sent: number;
  /** Beginning of the log lines that changes are meant to cause that cannot be used. */
  readonly meant: string;
}

/** Stops the relay: each item is in its books and at the Collector, once, and the log tells of nothing that was not meant. */
export async function stopAndAudit({ relay, here, collector, seen, sent, meant }: RotationEnd): Promise<void> {
  await seen.until(() => collector.items.traces >= sent, `${sent} items, of which ${collector.items.traces} came`);
  await relay.stop();
  assert.equal(collector.items.traces, sent, "each item once");
  const { accepted, delivered } = booksIn(here.queuePath).traces;
  assert.deepEqual({ accepted, delivered }, { accepted: sent, delivered: sent });
  const troubled = here.log.entries.filter(({ level, message }) =>
    ["warn", "error"].includes(level) && !message.startsWith(meant)
  );
  assert.deepEqual(troubled, [], "no request was refused, and none to the Collector failed");
}
