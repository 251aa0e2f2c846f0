/**
 * The thread that prepares large bodies, one after the other.
 * @module
 */
import { OwnedBytes } from "../codec/owned_bytes.ts";
import { messageOf, Refusal } from "../errors.ts";
import { serveJobs } from "../helper_thread.ts";
import { Redactor } from "../otlp/rewrite/redaction.ts";
import { type PreparationSettings, prepare } from "./preparation.ts";
import type { Answer, Job, Start } from "./preparation_protocol.ts";

serveJobs<Start, Job, Answer>(({ payloadEncoding, bounds, redaction }) => {
  const settings = { payloadEncoding, bounds, redactor: redaction && new Redactor(redaction) };
  return (job) => {
    const answer = answerTo(settings, job);
    return { content: answer, transfer: answer.kind === "prepared" ? [answer.prepared.payload.buffer] : [] };
  };
});

function answerTo(settings: PreparationSettings, { form, body }: Job): Answer {
  try {
    return { kind: "prepared", prepared: prepare(settings, form, new OwnedBytes(body)) };
  } catch (error) {
    if (!(error instanceof Refusal)) return { kind: "failed", message: messageOf(error) };
    const { code, what, remedy, field, cause } = error;
    return { kind: "refused", code, what, remedy, field, cause: cause === undefined ? undefined : messageOf(cause) };
  }
}
