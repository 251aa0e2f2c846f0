import assert from "node:assert/strict";
import { Hono } from "hono";
import { accessOf, guard } from "../../src/admin/access.ts";

const ask = (headers: Record<string, string> = {}, url = "http://127.0.0.1:9464/") => new Request(url, { headers });

Deno.test("with a token, whoever shows it: as a bearer, or as the password of any user", () => {
  const { possible, denial } = accessOf({ token: "s3cret", exposed: true });
  assert(possible);
  for (const authorization of ["Bearer s3cret", "bearer s3cret", `Basic ${btoa("admin:s3cret")}`]) {
    assert.equal(denial(ask({ authorization })), undefined, authorization);
  }
  for (
    const authorization of ["Bearer s3cre", "Bearer s3cret2", "Bearer", "s3cret", `Basic ${btoa("s3cret:")}`, "Basic !"]
  ) {
    assert.equal(denial(ask({ authorization }))?.status, 401, authorization);
  }
  assert.equal(denial(ask())?.status, 401);
});

Deno.test("without one, this machine alone, and under its own name", () => {
  const { possible, denial } = accessOf({ exposed: false });
  assert(possible);
  for (const host of ["localhost:9464", "127.0.0.1:9464", "[::1]:9464", "LOCALHOST"]) {
    assert.equal(denial(ask({ host })), undefined, host);
  }
  assert.equal(denial(ask()), undefined);
  for (const host of ["rebound.example:9464", "127.0.0.1.rebound.example", "10.0.0.1", "a b"]) {
    assert.equal(denial(ask({ host }))?.status, 403, host);
  }
});

Deno.test("without one, and where others reach it, nobody", () => {
  const { possible, denial } = accessOf({ exposed: true });
  assert(!possible);
  assert.deepEqual(denial(ask()), {
    status: 403,
    message: "Cannot show this to other machines; set telemetry.admin.token",
  });
});

Deno.test("who is not let in is told how, and a browser asks for the password", async () => {
  const app = new Hono().get("/", guard(accessOf({ token: "s3cret", exposed: true })), (context) => context.text("in"));
  const refused = await app.request("/");
  assert.equal(refused.status, 401);
  assert.match(refused.headers.get("www-authenticate") ?? "", /^Basic realm="edgeferry"/);
  assert.match(await refused.text(), /^Cannot show this without telemetry\.admin\.token; send it as a bearer token/);
  assert.equal(await (await app.request("/", { headers: { authorization: "Bearer s3cret" } })).text(), "in");
});
