/**
 * Access to the metrics and the status page: from this machine only, or with the token. Health is for everybody.
 * @module
 */
import { createHash, timingSafeEqual } from "node:crypto";
import type { MiddlewareHandler } from "hono";
import { auth } from "hono/utils/basic-auth";
import { isLoopback } from "../config/units.ts";

/** How admin is reached. */
export interface AccessOptions {
  /** `telemetry.admin.token`. */
  readonly token?: string | undefined;
  /** Others than this machine can reach it. */
  readonly exposed: boolean;
}

/** What stands in the way of a request. */
export interface Denial {
  readonly status: 401 | 403;
  /** A sentence without a period. */
  readonly message: string;
}

/** Judges requests. */
export interface Access {
  /** Whether anybody is let in. */
  readonly possible: boolean;
  /** Undefined: it is let in. */
  denial(request: Request): Denial | undefined;
}

/** A bearer token (Prometheus), or the token as the password of any user (browsers); without one, this machine alone. */
export function accessOf({ token, exposed }: AccessOptions): Access {
  if (token !== undefined) {
    const wanted = digest(token);
    return {
      possible: true,
      denial(request) {
        const bearer = /^Bearer +(\S+) *$/i.exec(request.headers.get("authorization") ?? "")?.[1];
        const shown = bearer ?? auth(request)?.password;
        if (shown !== undefined && timingSafeEqual(digest(shown), wanted)) return undefined;
        return {
          status: 401,
          message:
            "Cannot show this without telemetry.admin.token; send it as a bearer token, or as the password of any user",
        };
      },
    };
  }
  if (exposed) {
    const denial: Denial = { status: 403, message: "Cannot show this to other machines; set telemetry.admin.token" };
    return { possible: false, denial: () => denial };
  }
  return {
    possible: true,
    denial(request) {
      // A page of a name that its owner has pointed at this machine (DNS rebinding) would be let in by its address.
      const host = request.headers.get("host");
      const hostname = URL.parse(host === null ? request.url : `http://${host}`)?.hostname ?? "";
      if (isLoopback(hostname)) return undefined;
      return {
        status: 403,
        message: `Cannot show this under the name ${hostname}; ask localhost, or set telemetry.admin.token`,
      };
    },
  };
}

/** Answers in place of what is behind it, where a request is not let in. */
export function guard(access: Access): MiddlewareHandler {
  return async (context, next) => {
    const denial = access.denial(context.req.raw);
    if (denial === undefined) return await next();
    const challenge: Record<string, string> = denial.status === 401
      ? { "www-authenticate": 'Basic realm="edgeferry", charset="UTF-8"' }
      : {};
    return context.text(`${denial.message}\n`, denial.status, challenge);
  };
}

/** A digest has one length, however long the token is: a comparison then tells nothing of its length. */
function digest(text: string): Uint8Array {
  return createHash("sha256").update(text).digest();
}
