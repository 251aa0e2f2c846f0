/** A thread that adds a number to each that it is given, and ends by an error at 0. */
import { serveJobs } from "../../../src/helper_thread.ts";

serveJobs<number, Uint8Array<ArrayBuffer>, Uint8Array<ArrayBuffer>>((summand) => (job) => {
  if (job[0] === 0) throw new RangeError("this thread ends");
  const content = job.map((each) => each + summand);
  return { content, transfer: [content.buffer] };
});
