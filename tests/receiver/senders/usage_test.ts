import assert from "node:assert/strict";
import { senderId } from "../../../src/config/sender_id.ts";
import { kindOfProof, type Proof, type Sender } from "../../../src/receiver/senders/sender.ts";
import { lastHour, USAGE, Usage } from "../../../src/receiver/senders/usage.ts";

const HOUR_MS = 3_600_000;
const START = 1_800_000_000_000 - 1_800_000_000_000 % HOUR_MS;

const sender = (name: string, proof: Proof = "token 5e884898"): Sender => ({
  id: senderId(kindOfProof(proof), name),
  proof,
  signals: new Set(["traces"]),
});

function scene() {
  const clock = { now: START };
  let asked = 0;
  const from = (address: string | undefined, origin: string | null = null) => ({
    origin,
    address: () => {
      asked++;
      return address;
    },
  });
  return { clock, from, asked: () => asked, usage: new Usage(undefined, () => clock.now) };
}

Deno.test("a token's last use, its requests and items, its refusals and the places it was used from", () => {
  const { clock, from, usage } = scene();
  assert.equal(usage.changed, false);
  const web = sender("web");
  usage.accepted(web, 3, from("192.0.2.1"));
  clock.now += 5_000;
  usage.accepted(web, 4, from("192.0.2.2"));
  clock.now += 5_000;
  usage.refused(web, "throttled", from("192.0.2.2"));
  usage.refused(web, "throttled", from("192.0.2.2"));
  usage.refused(sender("idle", "token 00000000"), "expired", from(undefined));
  // Another object of the same token, as after a change of the tokens file; another token of the same id.
  usage.accepted(sender("web"), 1, from(undefined, "https://app.example"));
  usage.accepted(sender("web", "token ffffffff"), 1, from("192.0.2.1"));
  assert.equal(usage.changed, true);
  const { since, until, tokens } = usage.snapshot();
  assert.deepEqual([since, until, usage.changed], [START, START + 10_000, false]);
  assert.deepEqual(
    tokens.map(({ id, proof, last_use, requests, items, refused }) => [id, proof, last_use, requests, items, refused]),
    [
      ["web", "token 5e884898", START + 10_000, 3, 8, { throttled: 2 }],
      ["idle", "token 00000000", undefined, 0, 0, { expired: 1 }],
      ["web", "token ffffffff", START + 10_000, 1, 1, {}],
    ],
  );
  assert.deepEqual(tokens[0]!.places, [
    { place: "192.0.2.1", first_use: START, last_use: START },
    { place: "192.0.2.2", first_use: START + 5_000, last_use: START + 10_000 },
    { place: "https://app.example", first_use: START + 10_000, last_use: START + 10_000 },
  ]);
  assert.deepEqual(tokens[1]!.places.map(({ place }) => place), ["unknown"]);
});

Deno.test("the address is asked for once a second, an origin that changes is noticed at once", () => {
  const { clock, from, usage, asked } = scene();
  const web = sender("web");
  for (let count = 0; count < 1_000; count++) usage.accepted(web, 1, from("192.0.2.1"));
  assert.equal(asked(), 1);
  clock.now += 1_000;
  usage.accepted(web, 1, from("192.0.2.1"));
  assert.equal(asked(), 2);
  usage.refused(web, "forbidden", from("192.0.2.1", "https://evil.example"));
  assert.deepEqual(usage.snapshot().tokens[0]!.places.map(({ place }) => place), ["192.0.2.1", "https://evil.example"]);
});

Deno.test("places and tokens are bounded, and what is written is what is read", () => {
  const { clock, from, usage } = scene();
  const web = sender("web");
  for (let count = 0; count < 30; count++) {
    clock.now += 1_000;
    usage.accepted(web, 1, from(`192.0.2.${count}`));
    usage.accepted(web, 1, from(undefined, `https://${"x".repeat(1_000)}`));
  }
  const { places } = usage.snapshot().tokens[0]!;
  assert.equal(places.length, 10);
  assert.ok(places.some(({ place }) => place === "192.0.2.29"));
  assert.ok(places.every(({ place }) => place.length <= 253));
  // Ever new names of one kind take nothing from the others.
  for (let count = 0; count < 1_500; count++) usage.accepted(sender(`${count}`, "jwt"), 1, from(undefined));
  usage.accepted(sender("late"), 1, from(undefined));
  const snapshot = usage.snapshot();
  assert.equal(snapshot.tokens.length, 1_003);
  const others = snapshot.tokens.find(({ id }) => id === "(others)")!;
  assert.deepEqual([others.proof, others.requests], ["jwt", 500]);
  assert.equal(snapshot.tokens.at(-1)!.id, "late");
  const again = new Usage(snapshot, () => clock.now);
  again.accepted(sender("new", "jwt"), 1, from(undefined));
  assert.equal(again.snapshot().tokens.length, 1_003);
  assert.deepEqual(USAGE.parse(JSON.parse(JSON.stringify(snapshot))), snapshot);
});

Deno.test("a relay goes on where the one before it stopped; what is long unused is forgotten", () => {
  const { clock, from, usage } = scene();
  usage.accepted(sender("web"), 3, from(undefined));
  usage.accepted(sender("old"), 3, from(undefined));
  clock.now += 80 * 24 * HOUR_MS;
  const next = new Usage(usage.snapshot(), () => clock.now);
  next.accepted(sender("web"), 2, from(undefined));
  assert.deepEqual(next.snapshot().tokens.map(({ id, requests }) => [id, requests]), [["web", 2], ["old", 1]]);
  clock.now += 20 * 24 * HOUR_MS;
  assert.deepEqual(next.snapshot().tokens.map(({ id }) => id), ["web"]);
  assert.equal(next.snapshot().since, START);
});

Deno.test("the last hour: this one, and of the one before as much as is left", () => {
  const { clock, from, usage } = scene();
  const web = sender("web");
  const hour = () => lastHour(usage.snapshot().tokens[0]!, clock.now);
  for (let count = 0; count < 60; count++) usage.accepted(web, 10, from(undefined));
  assert.deepEqual(hour(), { requests: 60, items: 600 });
  clock.now += HOUR_MS;
  usage.accepted(web, 1, from(undefined));
  assert.deepEqual(hour(), { requests: 61, items: 601 });
  clock.now += HOUR_MS / 2;
  assert.deepEqual(hour(), { requests: 31, items: 301 });
  clock.now += HOUR_MS / 2;
  assert.deepEqual(hour(), { requests: 1, items: 1 });
  clock.now += HOUR_MS;
  assert.deepEqual(hour(), { requests: 0, items: 0 });
});

Deno.test("a sender's last use is that of whichever of its tokens; a refusal is none", () => {
  const { clock, from, usage } = scene();
  usage.accepted(sender("web"), 1, from("192.0.2.1"));
  clock.now += 5_000;
  usage.accepted(sender("web", "token ffffffff"), 1, from("192.0.2.1"));
  usage.accepted(sender("other"), 1, from("192.0.2.1"));
  clock.now += 5_000;
  usage.refused(sender("web"), "throttled", from("192.0.2.1"));
  usage.refused(sender("idle"), "throttled", from("192.0.2.1"));
  assert.deepEqual([...usage.lastUses(new Set(["web", "idle"]))], [["web", START + 5_000]]);
});

Deno.test("a JWT and a certificate that name themselves as a static token are counted apart from it", () => {
  const { from, usage, clock } = scene();
  usage.accepted(sender("checkout"), 1, from(undefined));
  clock.now += 1;
  for (const proof of ["jwt", "key", "certificate"] as const) {
    usage.accepted(sender("checkout", proof), 1, from(undefined));
  }
  assert.deepEqual(usage.snapshot().tokens.map(({ id, proof, requests }) => [id, proof, requests]), [
    ["checkout", "token 5e884898", 1],
    ["checkout", "jwt", 1],
    ["checkout", "key", 1],
    ["checkout", "certificate", 1],
  ]);
  assert.deepEqual([...usage.lastUses(new Set(["checkout", "jwt:checkout"]))], [["checkout", START], [
    "jwt:checkout",
    START + 1,
  ]]);
});
