/**
 * The thread that recodes large bodies, one after the other.
 * @module
 */
import { discard } from "../../codec/bytes.ts";
import { messageOf } from "../../errors.ts";
import { serveJobs } from "../../helper_thread.ts";
import { DamagedError, recode } from "./recode.ts";
import type { RecodeJob, RecodeReply } from "./recode_protocol.ts";

serveJobs<undefined, RecodeJob, RecodeReply>(() => (job) => {
  const reply = replyTo(job);
  return { content: reply, transfer: reply.kind === "recoded" ? [reply.bytes.buffer] : [] };
});

function replyTo({ bytes, ...recoding }: RecodeJob): RecodeReply {
  try {
    const recoded = recode(bytes, recoding);
    if (recoded.buffer !== bytes.buffer) discard(bytes);
    return { kind: "recoded", bytes: recoded };
  } catch (error) {
    return { kind: error instanceof DamagedError ? "damaged" : "failed", message: messageOf(error) };
  }
}
