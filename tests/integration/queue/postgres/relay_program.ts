/**
 * A relay without receiver and exporter, until it is killed: appends numbered records and sends what it takes. It prints, each in one write:
 * `A n` once a record is accepted, `R n unknown` or `R n refused` where it is not, `D n` when the Collector would have it, before the outcome
 * is written; `stopped` when it appends no more, as SIGTERM tells it to; after SIGUSR1 `T n` for each that it takes, which the Collector has not
 * before SIGCONT. Arguments: the driver's configuration as JSON, the first number, how many it appends (0: it only sends).
 */
import { writeSync } from "node:fs";
import process from "node:process";
import { Refusal } from "../../../../src/errors.ts";
import { Client, type ClientConfig } from "../../../../src/postgres/driver.ts";
import { openPostgresQueue } from "../../../../src/queue/postgres/queue.ts";
import { LIMIT, NEVER, numberOf, record, TestLog } from "../../../queue/records.ts";

const [configuration = "{}", first = "0", count = "0"] = process.argv.slice(2);
const config: ClientConfig = JSON.parse(configuration);

const queue = await openPostgresQueue({
  bytesMax: 1 << 30,
  deadLetterBytesMax: 1 << 20,
  log: new TestLog(),
  name: `from ${first}`,
  connect: async () => {
    const client = new Client({ ...config, connectionTimeoutMillis: 5_000 });
    client.on("error", () => {});
    await client.connect();
    return client;
  },
});
const say = (line: string) => void writeSync(1, `${line}\n`);
let next = Number(first);
let last = next + Number(count);
// Before it is ready: whoever reads that may stop it at once.
process.on("SIGTERM", () => last = 0);
/** Resolves when the Collector has what it was sent meanwhile; undefined where it only takes its time. */
let held: PromiseWithResolvers<void> | undefined;
process.on("SIGUSR1", () => held = Promise.withResolvers());
process.on("SIGCONT", () => {
  held?.resolve();
  held = undefined;
});
say("ready");

async function send(): Promise<never> {
  for (;;) {
    const deliveries = await queue.take({ ...LIMIT, recordsMax: 20 }, NEVER);
    if (held === undefined) {
      // A Collector that takes its time: there is mostly something on its way.
      await new Promise((resolve) => setTimeout(resolve, 100));
    } else {
      for (const delivery of deliveries) say(`T ${numberOf(delivery)}`);
      await held.promise;
    }
    for (const delivery of deliveries) say(`D ${numberOf(delivery)}`);
    await Promise.all(deliveries.map((delivery) => delivery.settle([{ kind: "delivered" }])));
  }
}

async function append(): Promise<void> {
  while (next < last) {
    const number = next++;
    try {
      await queue.append(record(number, { bytes: 700 }));
      say(`A ${number}`);
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      say(`R ${number} ${error.unknown ? "unknown" : "refused"}`);
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }
}

void send();
void send();
await Promise.all(Array.from({ length: 8 }, append));
say("stopped");
