import assert from "node:assert/strict";
import { Refusal } from "../../src/errors.ts";
import { SIGNALS } from "../../src/signal.ts";
import { TokenAuthenticator } from "../../src/receiver/senders/authenticator.ts";
import { assertRefused, BEARER, JSON_TYPE, ONE_SPAN, testEachWay, withToken } from "../support/relay/receiver.ts";

const json = JSON_TYPE;
const bearer = BEARER;

testEachWay("without allowed origins no answer has a header of CORS", async (receiver) => {
  const { post } = receiver();
  for (
    const response of [await post(ONE_SPAN, { origin: "https://app.example" }), await post(null, { method: "OPTIONS" })]
  ) {
    assert.deepEqual(
      [...response.headers.keys()].filter((name) => name.startsWith("access-control") || name === "vary"),
      [],
    );
  }
});

testEachWay("a preflight of an allowed origin is answered before authentication", async (receiver) => {
  const allowedOrigins = ["https://app.example", "https://other.example:8443"];
  const authenticator = new TokenAuthenticator([]);
  const { post, told } = receiver({ allowedOrigins, authenticator });
  for (const { path } of SIGNALS) {
    for (const origin of allowedOrigins) {
      const response = await post(null, {
        path,
        method: "OPTIONS",
        type: "",
        origin,
        "access-control-request-method": "POST",
        "access-control-request-headers": "authorization,content-type",
      });
      assert.equal(response.status, 204);
      const { headers } = response;
      assert.equal(headers.get("access-control-allow-origin"), origin);
      assert.equal(headers.get("access-control-allow-credentials"), "true");
      assert.equal(headers.get("access-control-allow-methods"), "POST");
      assert.equal(headers.get("access-control-max-age"), "600");
      assert.match(headers.get("vary")!, /\bOrigin\b/);
      const allowed = headers.get("access-control-allow-headers")!.split(",");
      for (const name of ["authorization", "content-type", "content-encoding", "x-api-key", "traceparent"]) {
        assert.ok(allowed.includes(name), name);
      }
    }
  }
  assert.deepEqual(told, [], "a preflight is no request of a sender");
});

testEachWay(
  "a page of an allowed origin can read every answer, Retry-After too; another's cannot",
  async (receiver) => {
    const { post } = receiver({
      allowedOrigins: ["https://app.example"],
      append: () => Promise.reject(new Refusal("queue_full", "full", { retryAfterS: 4 })),
    });
    const answers = [
      [await post("{}", { origin: "https://app.example" }), 200],
      [await post("{", { origin: "https://app.example" }), 400],
      [await post(ONE_SPAN, { origin: "https://app.example" }), 503],
      [await post(null, { origin: "https://app.example", method: "PUT" }), 405],
    ] as const;
    for (const [{ status, headers }, expected] of answers) {
      assert.equal(status, expected);
      assert.equal(headers.get("access-control-allow-origin"), "https://app.example");
      assert.equal(headers.get("access-control-expose-headers"), "retry-after");
      assert.equal(headers.get("vary"), "Origin");
      assert.equal(headers.get("content-type"), json);
    }
    assert.equal(answers[2][0].headers.get("retry-after"), "4");
    for (const origin of ["https://evil.example", "https://app.example.evil", "http://app.example", "null", ""]) {
      for (
        const response of [await post("{}", { origin }), await post(null, { origin, method: "OPTIONS", type: "" })]
      ) {
        assert.equal(response.headers.get("access-control-allow-origin"), null, origin);
        assert.match(response.headers.get("vary")!, /\bOrigin\b/);
      }
    }
  },
);

testEachWay("`*` is every origin, without credentials", async (receiver) => {
  const { post } = receiver({ allowedOrigins: ["https://app.example", "*"] });
  for (const method of ["POST", "OPTIONS"]) {
    const { headers } = await post(method === "POST" ? "{}" : null, { origin: "https://any.example", method });
    assert.equal(headers.get("access-control-allow-origin"), "*");
    assert.equal(headers.get("access-control-allow-credentials"), null);
  }
});

testEachWay(
  "a token for origins: its preflights are answered, and it is of no use from elsewhere",
  async (receiver) => {
    const { post, submissions, told } = withToken(receiver, { origins: ["https://app.example"] });
    const preflight = (origin: string) => post(null, { method: "OPTIONS", type: "", origin });
    assert.equal(
      (await preflight("https://app.example")).headers.get("access-control-allow-origin"),
      "https://app.example",
    );
    assert.equal((await preflight("https://evil.example")).headers.get("access-control-allow-origin"), null);
    assert.equal((await post(ONE_SPAN, { ...bearer, origin: "https://app.example" })).status, 200);
    await assertRefused(await post(ONE_SPAN, { ...bearer, origin: "https://evil.example" }), 403, /from this origin/);
    await assertRefused(await post(ONE_SPAN, bearer), 403, /is for web pages, and the request has no Origin/);
    assert.equal(submissions.length, 1);
    assert.deepEqual(told.map(({ kind }) => kind), ["refused", "accepted", "refused", "refused"], "the preflight too");
  },
);

testEachWay("while no token is for an origin, no answer has a header of CORS", async (receiver) => {
  const { post } = withToken(receiver, {});
  const { headers } = await post(ONE_SPAN, { ...bearer, origin: "https://app.example" });
  assert.deepEqual([...headers.keys()].filter((name) => name.startsWith("access-control") || name === "vary"), []);
});
