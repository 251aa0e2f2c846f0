import assert from "node:assert/strict";
import { X509Certificate } from "node:crypto";
import { createAuthority, SERVER } from "../../src/pki/authority.ts";
import { describe } from "../../src/pki/certificate.ts";
import { type Expiry, expiryOf, type ExpiryRole } from "../../src/pki/expiry.ts";
import { keepCalendar } from "../../src/relay/expiry.ts";
import { createLog } from "../../src/telemetry/log.ts";
import { ending } from "../support/files/certificates.ts";

const DAY_MS = 86_400_000;
const LIMITS = { warningMs: 30 * DAY_MS, errorMs: 3 * DAY_MS };

Deno.test("what is near its end is told of once, by its level, with who renews it", async () => {
  const authority = await createAuthority({ commonName: "CA" });
  const expiryIn = async (role: ExpiryRole, days: number): Promise<Expiry> => {
    const { certificate } = await authority.issue({ ...SERVER, ...ending(days) });
    return expiryOf(role, describe(new X509Certificate(certificate)), LIMITS, new Date());
  };
  const lines: Record<string, unknown>[] = [];
  const log = createLog({ format: "json", write: (line) => void lines.push(JSON.parse(line)) });
  const expiries = [await expiryIn("client", 40), await expiryIn("receiver", 20), await expiryIn("collector", 2)];
  using calendar = keepCalendar(() => expiries, log);
  calendar.look();
  const told = () => lines.map(({ level, message, remedy }) => [level, String(message).split(",")[0], remedy]);
  const warned = [
    "warn",
    "The receiver's certificate CN=otel-collector ends in 19 days",
    "renew it (certs rotate); changed files are taken up by themselves",
  ];
  const alarmed = [
    "error",
    "The Collector's certificate CN=otel-collector ends in 1 day",
    "renew it on the Collector's side",
  ];
  assert.deepEqual(told(), [warned, alarmed]);
  expiries.splice(0, 3, await expiryIn("receiver_client_ca", 10));
  calendar.look();
  assert.deepEqual(told()[2], [
    "warn",
    "The receiver's client CA certificate CN=otel-collector ends in 9 days",
    "change the CA in two steps (certs rotate --ca); changed files are taken up by themselves",
  ]);
});
