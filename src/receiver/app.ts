/**
 * The receiver as a Hono app: the routes of OTLP/HTTP, and CORS. Each request goes through `receive.ts`, whichever way it came in.
 * @module
 */
import type { Context, Hono } from "hono";
import { Refusal } from "../errors.ts";
import { SIGNALS } from "../signal.ts";
import { refusalAnswer } from "./answer.ts";
import { CrossOrigin } from "./cross_origin.ts";
import type { Answer, Inbound } from "./inbound.ts";
import { receive, type ReceiverOptions, type RefusedRequest } from "./receive.ts";
import { webAnswer, type WebEnvironment, webInbound } from "./web_request.ts";

/** What the app is made of. */
export interface ReceiverAppOptions extends ReceiverOptions {
  /** Web origins whose pages may post, e.g. `https://app.example`; `*` is every one. None by default. */
  readonly allowedOrigins: readonly string[];
  /** The origins that tokens are bound to, now: their preflights are answered too. */
  readonly tokenOrigins?: () => ReadonlySet<string>;
}

/** What the app is given beside a request: what a server knows of it. */
export interface ReceiverEnvironment extends WebEnvironment {
  /** By a way in that makes no web objects for it: the request, and in its answer's place what it writes itself. */
  readonly inbound?: Inbound;
}

const NO_ORIGINS: ReadonlySet<string> = new Set();

/**
 * Adds the receiver to an app, after whatever middleware it has. Routes: POST `/v1/traces`, `/v1/metrics`, `/v1/logs`; another
 * method is 405 with `Allow`, another path 404.
 */
export function mountReceiver(app: Hono, options: ReceiverAppOptions): void {
  const { allowedOrigins, tokenOrigins = () => NO_ORIGINS } = options;
  const crossOrigin = new CrossOrigin(allowedOrigins, tokenOrigins);
  const refuse = (context: Context, refusal: Refusal, about: Omit<RefusedRequest, "refusal"> = {}): Answer => {
    const { headers } = context.req.raw;
    options.events.refused({ refusal, origin: headers.get("origin") ?? undefined, ...about });
    return refusalAnswer(headers, refusal);
  };
  for (const signal of SIGNALS) {
    // Handlers, and no middleware before them: each of those costs a request more than its token does.
    app.post(signal.path, async (context) => {
      const environment = (context.env ?? {}) as ReceiverEnvironment;
      const inbound = environment.inbound ?? webInbound(context.req.raw, environment);
      const answer = await receive(options, signal, inbound);
      const readable = crossOrigin.open
        ? withHeaders(answer, crossOrigin.headers(inbound.headers.get("origin")))
        : answer;
      return environment.inbound === undefined ? webAnswer(readable) : asResponse(readable);
    });
    app.all(signal.path, (context) => {
      const about = { signal: signal.name };
      const origin = context.req.raw.headers.get("origin");
      // Before authentication: a preflight carries no token. A page has to be able to read a refusal too.
      const answer = crossOrigin.open && context.req.method === "OPTIONS"
        ? preflight(crossOrigin, origin, (refusal) => refuse(context, refusal, about))
        : refuse(
          context,
          new Refusal("method_not_allowed", `Method not allowed on ${signal.path}`, {
            remedy: "use POST",
            headers: { allow: "POST" },
          }),
          about,
        );
      return webAnswer(withHeaders(answer, crossOrigin.headers(origin)));
    });
  }
  app.notFound((context) => {
    const { path } = context.req;
    return webAnswer(refuse(context, notFound(context.req.raw.headers.get("content-type")), { path }));
  });
}

/** 404, with what a sender that speaks gRPC to this port has to set. */
function notFound(contentType: string | null): Refusal {
  const paths = SIGNALS.map(({ path }) => path).join(", ");
  return /^application\/grpc\b/i.test(contentType ?? "")
    ? new Refusal("not_found", "This port speaks OTLP/HTTP, not gRPC", {
      remedy: "set the sender's protocol to http/protobuf (OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf), " +
        `and its path to one of ${paths}`,
    })
    : new Refusal("not_found", "No such path", { remedy: `use ${paths}` });
}

function preflight(crossOrigin: CrossOrigin, origin: string | null, refuse: (refusal: Refusal) => Answer): Answer {
  try {
    return crossOrigin.preflight(origin);
  } catch (error) {
    if (error instanceof Refusal) return refuse(error);
    throw error;
  }
}

function withHeaders(answer: Answer, headers: Answer["headers"]): Answer {
  return { ...answer, headers: { ...answer.headers, ...headers } };
}

/**
 * An answer in a `Response`'s place. Hono and the instrumentation look at its status alone and hand it on as it is; the way in that gave
 * the request without web objects writes it the same way, see {@link ReceiverEnvironment.inbound}.
 */
function asResponse(answer: Answer): Response {
  return answer as unknown as Response;
}
