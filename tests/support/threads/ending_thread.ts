/** A thread in the place of the one that prepares bodies, which begins and ends by an error at its first body. */
import { serveJobs } from "../../../src/helper_thread.ts";

serveJobs(() => () => {
  throw new RangeError("this thread ends");
});
