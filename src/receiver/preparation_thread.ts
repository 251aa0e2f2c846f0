/**
 * The thread that prepares large bodies, one after the other.
 * @module
 */
import { OwnedBytes } from "../codec/owned_bytes.ts";
import { messageOf, Refusal } from "../errors.ts";
import { Redactor } from "../otlp/rewrite/redaction.ts";
import { type PreparationSettings, prepare } from "./preparation.ts";
import type { Answer, Job, Start } from "./preparation_protocol.ts";

/** What a Worker's global scope has; the compiler is given the main thread's. */
interface WorkerScope {
  postMessage(message: Answer, transfer: Transferable[]): void;
  onmessage: ((event: MessageEvent<Start | Job>) => void) | null;
}

const scope = self as unknown as WorkerScope;

let settings: PreparationSettings | undefined;

scope.onmessage = ({ data }) => {
  if ("body" in data) {
    const answer = answerTo(settings!, data);
    scope.postMessage(answer, answer.kind === "prepared" ? [answer.prepared.payload.buffer] : []);
    return;
  }
  const { payloadEncoding, bounds, redaction } = data;
  settings = { payloadEncoding, bounds, redactor: redaction && new Redactor(redaction) };
  scope.postMessage({ kind: "begun" }, []);
};

function answerTo(settings: PreparationSettings, { form, body }: Job): Answer {
  try {
    return { kind: "prepared", prepared: prepare(settings, form, new OwnedBytes(body)) };
  } catch (error) {
    if (!(error instanceof Refusal)) return { kind: "failed", message: messageOf(error) };
    const { code, message, field, cause } = error;
    return { kind: "refused", code, message, field, cause: cause === undefined ? undefined : messageOf(cause) };
  }
}
