/**
 * A program that fills a queue until it is killed: appends numbered records, several at a time, and prints the number of each
 * once it has been accepted. Arguments: the queue's path, the first number, faults as JSON.
 */
import process from "node:process";
import { writeSync } from "node:fs";
import { openQueue } from "../../../src/queue/open.ts";
import { record, TestLog } from "../records.ts";

const [path = "", first = "0", faults = "[]"] = process.argv.slice(2);
const queue = await openQueue({
  storage: "sqlite",
  path,
  bytesMax: 1 << 30,
  deadLetterBytesMax: 1 << 20,
  log: new TestLog(),
  faults: JSON.parse(faults),
});
let number = Number(first);
await Promise.all(Array.from({ length: 8 }, async () => {
  for (;;) {
    const mine = number++;
    await queue.append(record(mine, { bytes: 700 }));
    // At once and in one write: what was printed was accepted, whenever the signal comes.
    writeSync(1, `${mine}\n`);
  }
}));
