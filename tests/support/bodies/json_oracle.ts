/**
 * OTLP/JSON to protobuf a second time, for tests to hold the relay's transcoder against: `JSON.parse` says what is JSON, a regular
 * expression cuts it into tokens, and what they mean is encoded by the tests' own encoder. Shorter, a hundred times slower, and
 * nothing of it is shared with the relay but the table of messages.
 */
import { Buffer } from "node:buffer";
import {
  ENUM_NAMES,
  type Field,
  isMessage,
  type MessageName,
  MESSAGES,
  protoName,
  REQUEST_MESSAGE,
} from "../../../src/otlp/schema.ts";
import type { SignalName } from "../../../src/signal.ts";
import { encodeValue, varint } from "./requests.ts";

/** What a body is. */
export type Expected =
  | { readonly kind: "request"; readonly protobuf: Uint8Array }
  /** No JSON; `character` where V8 says which, in the units of its strings. */
  | { readonly kind: "syntax"; readonly character: number | undefined }
  /** JSON, and no request: the whole message of the error. */
  | { readonly kind: "fault"; readonly message: string };

/** A name in front of each value of an object; names may be there twice. */
type Node = { members: [string, Node][] } | { elements: Node[] } | { token: string };

const TOKEN = /"(?:[^"\\]|\\.)*"|[{}[\]:,]|[^\s{}[\]:,"]+/g;
const NESTING_MAX = 500;

class Wrong extends Error {
  path: string[] = [];
}

/** What transcoding `body` has to come to. */
export function expect(signal: SignalName, body: Uint8Array): Expected {
  let text: string;
  try {
    text = new TextDecoder("utf-8", { fatal: true }).decode(body);
  } catch {
    return { kind: "fault", message: "Malformed JSON: the body is not UTF-8" };
  }
  try {
    JSON.parse(text);
  } catch (error) {
    const position = / at position (\d+)/.exec((error as Error).message)?.[1];
    return { kind: "syntax", character: position === undefined ? undefined : Number(position) };
  }
  const root = treeOf(text.match(TOKEN)!.values());
  if (!("members" in root)) {
    return { kind: "fault", message: `Malformed JSON: ${kindOf(root)} at the top, an object wanted` };
  }
  try {
    return { kind: "request", protobuf: encodeMessage(REQUEST_MESSAGE[signal], root.members, 0) };
  } catch (error) {
    if (!(error instanceof Wrong)) throw error;
    const { path } = error;
    const shown = path.length > 16 ? [...path.slice(0, 8), "…", ...path.slice(-8)] : path;
    return { kind: "fault", message: `Malformed OTLP/JSON at ${shown.join(".") || "the top"}: ${error.message}` };
  }
}

/** The tree of tokens that are known to be JSON. */
function treeOf(tokens: Iterator<string>): Node {
  const next = () => tokens.next().value as string;
  const value = (token: string): Node => {
    if (token === "{") {
      const members: [string, Node][] = [];
      for (let name = next(); name !== "}"; name = next()) {
        if (name === ",") name = next();
        next();
        members.push([JSON.parse(name) as string, value(next())]);
      }
      return { members };
    }
    if (token !== "[") return { token };
    const elements: Node[] = [];
    for (let element = next(); element !== "]"; element = next()) {
      elements.push(value(element === "," ? next() : element));
    }
    return { elements };
  };
  return value(next());
}

function encodeMessage(name: MessageName, members: readonly [string, Node][], depth: number): Buffer {
  if (depth > NESTING_MAX) throw new Wrong(`nested deeper than ${NESTING_MAX} levels`);
  const pieces: Uint8Array[] = [];
  for (const [key, node] of members) {
    const field = MESSAGES[name].find((row) =>
      (row.name === key || protoName(row.name) === key) && row.number !== 1000
    );
    if (field === undefined || ("token" in node && node.token === "null")) continue;
    const tag = (wireType: number) => varint((BigInt(field.number) << 3n) | BigInt(wireType));
    const values: { wireType: number; bytes: Uint8Array }[] = [];
    if (!field.repeated) values.push(at(field.name, () => encode(name, field, node, depth)));
    else {
      if (!("elements" in node)) throw at(field.name, () => wanted(node, "an array"));
      for (const [index, element] of node.elements.entries()) {
        values.push(at(`${field.name}[${index}]`, () => encode(name, field, element, depth)));
      }
      if (values.length > 0 && values[0]!.wireType !== 2) {
        values.splice(0, Infinity, { wireType: 2, bytes: Buffer.concat(values.map(({ bytes }) => bytes)) });
      }
    }
    for (const { wireType, bytes } of values) {
      pieces.push(tag(wireType));
      if (wireType === 2) pieces.push(varint(BigInt(bytes.length)));
      pieces.push(bytes);
    }
  }
  return Buffer.concat(pieces);
}

/** Does a step; what is thrown in it gets this piece of its path. */
function at<T>(step: string, run: () => T): T {
  try {
    return run();
  } catch (error) {
    if (error instanceof Wrong) error.path.unshift(step);
    throw error;
  }
}

function encode(
  message: MessageName,
  { name, kind }: Field,
  node: Node,
  depth: number,
): { wireType: number; bytes: Uint8Array } {
  if (isMessage(kind)) {
    if (!("members" in node)) return wanted(node, "an object");
    return { wireType: 2, bytes: encodeMessage(kind, node.members, depth + 1) };
  }
  const token = "token" in node ? node.token : "";
  const text = token.startsWith('"') ? (JSON.parse(token) as string) : undefined;
  const isNumber = /^[-\d]/.test(token);
  switch (kind) {
    case "string":
      return text === undefined ? wanted(node, "a string") : encodeValue(kind, text.toWellFormed());
    case "bytes":
      if (text === undefined) return wanted(node, "a base64 string");
      try {
        return encodeValue(kind, Buffer.from(atob(text.replaceAll("-", "+").replaceAll("_", "/")), "latin1"));
      } catch {
        throw new Wrong("a string that is not base64");
      }
    case "traceId":
    case "profileId":
    case "spanId": {
      const digits = kind === "spanId" ? 16 : 32;
      if (text === undefined) return wanted(node, "a hex string");
      if (text !== "" && text.length !== digits) {
        throw new Wrong(`an id of ${text.length} characters, ${digits} hex digits wanted`);
      }
      if (/[^\da-f]/i.test(text)) throw new Wrong("an id with a character that is no hex digit");
      return encodeValue(kind, Buffer.from(text, "hex"));
    }
    case "bool":
      if (token !== "true" && token !== "false") return wanted(node, "true or false");
      return encodeValue(kind, token === "true");
    case "double": {
      const words = text === "NaN" || text === "Infinity" || text === "-Infinity";
      if (text === undefined && !isNumber) return wanted(node, "a number");
      if (text !== undefined && !words && !/^-?\d+(\.\d+)?(e[-+]?\d+)?$/i.test(text)) {
        throw new Wrong("a string that is no number, a number wanted");
      }
      const value = Number(text ?? token);
      if (!words && !Number.isFinite(value)) {
        throw new Wrong('a number over the range of a double; say "Infinity" for infinity');
      }
      return encodeValue(kind, value);
    }
    default: {
      if (kind === "enum" && text !== undefined) {
        const number = ENUM_NAMES[`${message}.${name}`]!.indexOf(text);
        if (number < 0) throw new Wrong("a string that is none of the enum's names");
        return encodeValue(kind, BigInt(number));
      }
      if (text === undefined && !isNumber) return wanted(node, "an integer");
      return encodeValue(kind, inRange(kind, integerOf(text, token)));
    }
  }
}

function integerOf(text: string | undefined, token: string): bigint {
  if (text !== undefined) {
    if (!/^-?\d{1,20}$/.test(text)) throw new Wrong("a string that is no integer, an integer wanted");
    return BigInt(text);
  }
  if (/^-?\d+$/.test(token)) return BigInt(token);
  if (!Number.isInteger(Number(token))) throw new Wrong("a number that is no integer, an integer wanted");
  return BigInt(Number(token));
}

function inRange(kind: string, value: bigint): bigint {
  const bits = BigInt(kind === "enum" ? 32 : kind.slice(-2));
  const unsigned = kind.startsWith("u") || kind.startsWith("f");
  const min = unsigned ? 0n : -(2n ** (bits - 1n));
  const max = unsigned ? 2n ** bits - 1n : 2n ** (bits - 1n) - 1n;
  if (value < min || value > max) throw new Wrong(`an integer that is not between ${min} and ${max}`);
  return value;
}

function wanted(node: Node, what: string): never {
  throw new Wrong(`${kindOf(node)}, ${what} wanted`);
}

function kindOf(node: Node): string {
  if ("members" in node) return "an object";
  if ("elements" in node) return "an array";
  if (node.token === "null") return "null";
  if (node.token === "true" || node.token === "false") return "a boolean";
  return node.token.startsWith('"') ? "a string" : "a number";
}
