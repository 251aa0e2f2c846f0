/**
 * What a header block has to be to be a request, an answer or trailers (RFC 9113, sections 8.2 and 8.3). What is not is malformed: its
 * stream ends, and the connection goes on.
 * @module
 */
import type { Field } from "./hpack_tables.ts";

/** RFC 9110, section 5.6.2, without capital letters (RFC 9113, section 8.2.1). */
const NAME = /^[!#$%&'*+\-.^_`|~0-9a-z]+$/;
/** NUL, CR, LF anywhere (RFC 9113, section 8.2.1). */
const NO_VALUE = /[\0\r\n]/;

/** Fields of a connection, which HTTP/2 has none of (RFC 9113, section 8.2.2). */
const OF_CONNECTIONS: ReadonlySet<string> = new Set([
  "connection",
  "keep-alive",
  "proxy-connection",
  "transfer-encoding",
  "upgrade",
]);

/** What the block is. */
export type BlockKind = "request" | "response" | "trailers";

/** Its pseudo fields (RFC 9113, section 8.3), and whether each has to be there. CONNECT, which has others, is nothing for us. */
const PSEUDO: Readonly<Record<BlockKind, ReadonlyMap<string, boolean>>> = {
  request: new Map([[":method", true], [":scheme", true], [":path", true], [":authority", false]]),
  response: new Map([[":status", true]]),
  trailers: new Map(),
};

/** Why these are not the fields of such a block; undefined where they are. Quotes nothing that the peer chose. */
export function malformation(fields: readonly Field[], kind: BlockKind): string | undefined {
  const pseudo = PSEUDO[kind];
  const seen = new Set<string>();
  let regular = false;
  for (const [name, value] of fields) {
    if (NO_VALUE.test(value)) return "A header field has a value that none may have";
    if (name.startsWith(":")) {
      if (regular) return "A pseudo field stands behind other fields";
      if (!pseudo.has(name)) return "A pseudo field is none of this kind of header";
      if (seen.has(name)) return `The pseudo field ${name} stands there twice`;
      if (value === "" && name !== ":authority") return `The pseudo field ${name} is empty`;
      if (name === ":status" && !/^[1-9]\d\d$/.test(value)) {
        return "The pseudo field :status is not a number of three digits";
      }
      seen.add(name);
      continue;
    }
    regular = true;
    if (!NAME.test(name)) return "A header field has a name that none may have";
    if (OF_CONNECTIONS.has(name)) return `The header field ${name} is not for HTTP/2`;
    if (name === "te" && value.toLowerCase() !== "trailers") return "The header field te says more than trailers";
  }
  for (const [name, needed] of pseudo) if (needed && !seen.has(name)) return `The pseudo field ${name} is missing`;
  return undefined;
}

/**
 * The fields without blanks around their values, as HTTP/1.1 reads them. RFC 9113, section 8.2.1, has such a block be malformed, but gRPC
 * libraries (C core, Go) send the words of a status and the metadata of a call as they are given: a refusal would be no answer.
 */
export function withoutBlanks(fields: readonly Field[]): readonly Field[] {
  return fields.some(([, value]) => isBlank(value, 0) || isBlank(value, value.length - 1))
    ? fields.map(([name, value]): Field => [name, trimmed(value)])
    : fields;
}

/** By steps, and not by an expression: a stranger's value may be blanks for the most part. */
function trimmed(value: string): string {
  let from = 0;
  let to = value.length;
  while (from < to && isBlank(value, from)) from++;
  while (to > from && isBlank(value, to - 1)) to--;
  return value.slice(from, to);
}

function isBlank(value: string, at: number): boolean {
  const character = value.charCodeAt(at);
  return character === 0x20 || character === 0x09;
}

/** The value of a field, by its name in small letters; of several, the first. */
export function fieldOf(fields: readonly Field[], name: string): string | undefined {
  for (const [each, value] of fields) if (each === name) return value;
  return undefined;
}

/** The length that `content-length` states, in bytes; undefined where it is absent, "malformed" where it is none. */
export function contentLength(fields: readonly Field[]): number | "malformed" | undefined {
  let length: string | undefined;
  for (const [name, value] of fields) {
    if (name !== "content-length") continue;
    if (length !== undefined && length !== value) return "malformed";
    length = value;
  }
  if (length === undefined) return undefined;
  const bytes = Number(length);
  return /^\d+$/.test(length) && Number.isSafeInteger(bytes) ? bytes : "malformed";
}
