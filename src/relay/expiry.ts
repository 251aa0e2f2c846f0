/**
 * The calendar of the certificates in use: each one near its end is reported once a day.
 * @module
 */
import { type Expiry, expiryRemedy, expiryText } from "../pki/expiry.ts";
import type { Log } from "../telemetry/log.ts";

/** How often it looks at the calendar, in ms. */
const CHECK_MS = 60_000;
/** The end of a certificate is reported once in this time, in ms. */
const LOG_MS = 86_400_000;

/** A calendar that is looked at. */
export interface Calendar extends Disposable {
  /** Looks at once: other certificates are in use now. */
  look(): void;
}

/** Reports certificates near their end, now and from then on. WARN: there is time; ERROR: a person is needed. */
export function keepCalendar(expiries: () => readonly Expiry[], log: Log): Calendar {
  function look(): void {
    for (const expiry of expiries()) {
      if (expiry.level === "ok") continue;
      const limited = log.limited(`expiry ${expiry.role} ${expiry.fingerprintSha256} ${expiry.level}`, LOG_MS);
      const remedy = expiryRemedy(expiry);
      if (expiry.level === "error") limited.error(expiryText(expiry), { remedy });
      else limited.warn(expiryText(expiry), { remedy });
    }
  }

  look();
  const timer = setInterval(look, CHECK_MS);
  return { look, [Symbol.dispose]: () => clearInterval(timer) };
}
