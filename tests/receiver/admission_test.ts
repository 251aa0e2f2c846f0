import assert from "node:assert/strict";
import { Refusal } from "../../src/errors.ts";
import { Admission, FLOOR_BYTES, type Permit } from "../../src/receiver/admission.ts";
import { Random } from "../support/bodies/requests.ts";

const overloaded = (error: unknown) => error instanceof Refusal && error.code === "overloaded";

Deno.test("what fits is let in, what does not is 503 and takes nothing", () => {
  const gate = new Admission(100);
  const first = gate.admit(60, "a");
  const second = gate.admit(40, "b");
  assert.equal(gate.bytes, 100);
  assert.throws(() => gate.admit(1, "c"), (error) => {
    assert.ok(error instanceof Refusal);
    assert.deepEqual([error.code, error.status, error.retryAfterS], ["overloaded", 503, 1]);
    assert.equal(error.message, "The relay holds 100 of at most 100 bytes in flight; retry");
    return true;
  });
  // What is refused while it grows has given back all that it held, so that what grows beside it has the room.
  assert.throws(() => second.grow(1), overloaded);
  assert.equal(gate.bytes, 60);
  first.grow(40);
  assert.equal(gate.bytes, 100);
  second.release();
  assert.equal(gate.bytes, 100, "it is given back once");
  first.release();
  assert.equal(gate.bytes, 0);
});

Deno.test("a request alone is let in whatever its size, and may grow", () => {
  const gate = new Admission(100);
  const alone = gate.admit(0, "a");
  for (let chunk = 0; chunk < 5; chunk++) alone.grow(50);
  assert.equal(gate.bytes, 250);
  assert.throws(() => gate.admit(1, "c"), overloaded);
  alone.release();
  gate.admit(1_000, "a").release();
  assert.equal(gate.bytes, 0);
});

Deno.test("a permit is given back once, whatever is called", () => {
  const gate = new Admission(100);
  const permit = gate.admit(10, "a");
  const other = gate.admit(20, "a");
  permit.release();
  permit.release();
  assert.equal(gate.bytes, 20);
  other.release();
  assert.equal(gate.bytes, 0);
});

Deno.test("a closed gate lets nothing in; what is in goes on", () => {
  const gate = new Admission(100);
  const inside = gate.admit(10, "a");
  gate.close();
  assert.throws(() => gate.admit(0, "a"), (error) => {
    assert.ok(error instanceof Refusal);
    assert.deepEqual([error.code, error.status, error.headers], ["shutting_down", 503, { connection: "close" }]);
    return true;
  });
  inside.grow(10);
  inside.release();
  assert.equal(gate.bytes, 0);
});

Deno.test("the sum held is that of the permits out, and over the bound by one request at most", () => {
  for (let seed = 1; seed <= 20; seed++) {
    const random = new Random(seed);
    const gate = new Admission(1_000);
    const out = new Map<Permit, number>();
    for (let step = 0; step < 500; step++) {
      const bytes = random.below(400);
      const permit = random.pick([...out.keys()]);
      const before = gate.bytes;
      const action = random.below(3);
      try {
        if (action === 0) out.set(gate.admit(bytes, `${step}`), bytes);
        else if (permit === undefined) continue;
        else if (action === 1) {
          permit.grow(bytes);
          out.set(permit, out.get(permit)! + bytes);
        } else {
          permit.release();
          out.delete(permit);
        }
      } catch (error) {
        assert.ok(overloaded(error));
        assert.equal(gate.bytes, before - (action === 1 ? out.get(permit!)! : 0));
        if (action === 1) out.delete(permit!);
      }
      const sizes = [...out.values()];
      assert.equal(gate.bytes, sizes.reduce((sum, size) => sum + size, 0));
      assert.ok(gate.bytes <= 1_000 || sizes.filter((size) => size > 0).length === 1);
    }
    for (const permit of out.keys()) permit.release();
    assert.equal(gate.bytes, 0);
  }
});

Deno.test("one sender has three quarters at most, however many requests it makes; one request alone is always let in", () => {
  const gate = new Admission(100);
  const noisy = [gate.admit(50, "noisy"), gate.admit(25, "noisy")];
  assert.throws(() => gate.admit(1, "noisy"), (error) => {
    assert.ok(error instanceof Refusal);
    assert.deepEqual([error.code, error.status, error.retryAfterS], ["throttled", 429, 1]);
    assert.equal(error.message, "Sender noisy has 75 of at most 75 bytes in flight; retry");
    return true;
  });
  assert.throws(() => noisy[0]!.grow(1), (error) => error instanceof Refusal && error.code === "throttled");
  assert.equal(gate.bytes, 25, "what was refused while it grew holds nothing");
  const quiet = gate.admit(75, "quiet");
  assert.throws(() => gate.admit(1, "third"), overloaded);
  quiet.release();
  const large = gate.admit(50, "large");
  large.grow(0);
  noisy[1]!.release();
  large.grow(45);
  assert.equal(gate.bytes, 95);
  large.release();
  assert.equal(gate.bytes, 0);
});

Deno.test("a stated length counts as a floor at most, and what arrives beyond it as it arrives", () => {
  const gate = new Admission(8 * FLOOR_BYTES);
  // Together they state twice what there is, and keep nobody out.
  const stating = ["a", "b", "c"].map((sender) => gate.admit(5 * FLOOR_BYTES, sender));
  assert.equal(gate.bytes, 3 * FLOOR_BYTES);
  const short = gate.admit(10, "d");
  assert.equal(gate.bytes, 3 * FLOOR_BYTES + 10);
  short.arrived(10);
  assert.equal(gate.bytes, 3 * FLOOR_BYTES + 10);
  short.release();
  const [first, second] = stating;
  first!.arrived(1);
  first!.arrived(FLOOR_BYTES - 1);
  assert.equal(gate.bytes, 3 * FLOOR_BYTES, "the floor holds what comes first");
  // What could not fit as it stands is refused before a byte of it is read.
  assert.throws(() => gate.admit(6 * FLOOR_BYTES, "e"), overloaded);
  first!.arrived(4 * FLOOR_BYTES);
  second!.arrived(2 * FLOOR_BYTES);
  assert.equal(gate.bytes, 8 * FLOOR_BYTES);
  assert.throws(() => gate.admit(1, "e"), overloaded);
  assert.throws(() => second!.arrived(1), overloaded);
  assert.equal(gate.bytes, 6 * FLOOR_BYTES);
  for (const permit of stating) permit.release();
  assert.equal(gate.bytes, 0);
});

Deno.test("a body of no stated length is counted as the floor until it is whole, and then as its length", () => {
  const gate = new Admission(4 * FLOOR_BYTES);
  const permit = gate.admit(undefined, "a");
  assert.equal(gate.bytes, FLOOR_BYTES);
  permit.arrived(100);
  permit.whole();
  assert.equal(gate.bytes, 100);
  permit.grow(50);
  permit.whole();
  assert.equal(gate.bytes, 150, "what it was grown by is not of the body, and stays");
  permit.release();
  assert.equal(gate.bytes, 0);
});
