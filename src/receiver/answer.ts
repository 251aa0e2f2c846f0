/**
 * What a request is answered: success in its own encoding, or a refusal as a Status.
 * @module
 */
import { type Refusal, REFUSALS } from "../errors.ts";
import { encodeStatus, encodeSuccess, type MediaType } from "../otlp/response.ts";
import type { Accepted } from "../queue/queue.ts";
import type { SignalName } from "../signal.ts";
import { encodeAnswer } from "./coding.ts";
import { knownMediaType } from "./headers.ts";
import type { Answer } from "./inbound.ts";
import type { HeaderFields } from "./senders/peer.ts";

/** The 200, which says that the data is safe. @param asked The request's header fields. */
export function success(
  asked: HeaderFields,
  signal: SignalName,
  mediaType: MediaType,
  { partialSuccess }: Accepted,
): Answer {
  const body = encodeSuccess(signal, mediaType, partialSuccess);
  return coded(asked, { status: 200, headers: SUCCESS_HEADERS[mediaType], body });
}

const SUCCESS_HEADERS: Readonly<Record<MediaType, Answer["headers"]>> = {
  "application/json": { "content-type": "application/json" },
  "application/x-protobuf": { "content-type": "application/x-protobuf" },
};

/**
 * A Status in the request's own encoding (OTLP: MUST); JSON where the request names none that we speak.
 * @param toldS What the sender is told to wait, in seconds, where it may retry.
 */
export function refusalAnswer(asked: HeaderFields, refusal: Refusal, toldS?: number): Answer {
  const mediaType = knownMediaType(asked.get("content-type")) ?? "application/json";
  const { status, grpcCode } = REFUSALS[refusal.code];
  const { message, field = "" } = refusal;
  const violation = status === 400 ? { field, description: message } : undefined;
  return coded(asked, {
    status,
    headers: {
      ...refusal.headers,
      "content-type": mediaType,
      ...(toldS === undefined ? {} : { "retry-after": String(toldS) }),
    },
    body: encodeStatus(mediaType, { code: grpcCode, message, violation }),
    refused: { refusal, toldS },
  });
}

function coded(asked: HeaderFields, answer: Answer): Answer {
  // Looked up only for an answer that has content: most have none.
  if (answer.body.length === 0) return answer;
  const { body, coding } = encodeAnswer(answer.body, asked.get("accept-encoding"));
  if (coding === undefined) return answer;
  return { ...answer, body, headers: { ...answer.headers, "content-encoding": coding } };
}
