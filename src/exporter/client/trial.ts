/**
 * A new identity is tried at the Collector before it is shown.
 *
 * The rule: it is refused where the Collector takes the identity in use and not this one, and nowhere else. A Collector that is
 * down, or that takes neither, is no reason to hold a rotation up: what is queued waits either way, and the old identity may be
 * what is wrong.
 * @module
 */
import { concernsTheWay, type Fault } from "../../diagnosis/faults.ts";
import type { SignalName } from "../../signal.ts";
import { type Answer, causeOf, type CollectorClient } from "./client.ts";
import type { ClientIdentity } from "./transport.ts";

/** What came of a trial. */
export type Trial =
  | { readonly kind: "accepted" }
  /** The Collector could not tell. */
  | { readonly kind: "untried"; readonly reason: string }
  | { readonly kind: "refused"; readonly fault: Fault; readonly cause: string };

const EMPTY = new Uint8Array(0);

/**
 * Sends an empty request with the new identity, and where that is refused, one with the identity in use.
 * @param signals Those that the client sends; one for each Collector is tried.
 */
export async function tryIdentity(
  client: CollectorClient,
  next: ClientIdentity,
  signals: readonly SignalName[],
  abort: AbortSignal,
): Promise<Trial> {
  let result: Trial = { kind: "accepted" };
  // The first of each: a Collector that lacks one lacks profiles.
  const origins = new Map(signals.toReversed().map((signal) => [new URL(client.target(signal).url).origin, signal]));
  for (const signal of origins.values()) {
    const { answer, fault } = await attempt(client, next, signal, abort);
    if (fault === undefined) continue;
    if (!concernsIdentity(fault)) {
      result = { kind: "untried", reason: fault.what };
      continue;
    }
    const current = await attempt(client, client.identity, signal, abort);
    if (current.fault === undefined) return { kind: "refused", fault, cause: causeOf(answer) };
    result = { kind: "untried", reason: `The Collector takes neither the old nor the new one: ${fault.what}` };
  }
  return result;
}

/** One empty request on a connection of its own; pooled ones still show what they were opened with. */
async function attempt(
  client: CollectorClient,
  identity: ClientIdentity,
  signal: SignalName,
  abort: AbortSignal,
): Promise<{ answer: Answer; fault: Fault | undefined }> {
  const trial = client.withIdentity(identity);
  try {
    const answer = await trial.send(signal, EMPTY, "identity", { abort });
    // Any answer to the request is one from behind the handshake; what it says of the request is another matter.
    const taken = answer.kind === "answer" && !concernsTheWay(answer.status, answer.message);
    return { answer, fault: taken ? undefined : trial.diagnose(answer) };
  } finally {
    trial.close();
  }
}

/** Whether another identity could mend it. */
function concernsIdentity({ code }: Fault): boolean {
  return code === "wrong_ca" || code === "handshake_cut" || code.startsWith("client_certificate_") ||
    code.startsWith("server_");
}
