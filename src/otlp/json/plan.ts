/**
 * The messages of {@link MESSAGES} as the JSON transcoder wants them: the name of a field as bytes, its tag as bytes, and which
 * field came after it last. A sender writes the fields of a message in one order, so that most names are compared and not looked up.
 * Names of the `.proto` always are.
 * @module
 */
import { roleOf } from "../item_count.ts";
import {
  ENUM_NAMES,
  isMessage,
  type MessageName,
  MESSAGES,
  protoName,
  REQUEST_MESSAGE,
  type ScalarKind,
} from "../schema.ts";
import { bySignal } from "../../signal.ts";
import { Spelling } from "./spelling.ts";

/** A field: all that can be known of it before there is a value. */
export interface FieldPlan {
  readonly name: string;
  /** The name and the quote that ends it. */
  readonly nameBytes: Uint8Array;
  /** The name as nearly every sender spells it: in quotes, and the colon behind it. */
  readonly spelling: Spelling;
  /** The tag of one value, a varint in the order of its bytes; of all values together where they are packed. */
  readonly tag: number;
  /** Undefined for a message. */
  readonly kind: ScalarKind | undefined;
  readonly message: MessagePlan | undefined;
  readonly repeated: boolean;
  readonly packed: boolean;
  /** The number of each name of an enum. */
  readonly enumNames: ReadonlyMap<string, number> | undefined;
  /** The field that came after this one last; undefined before there was one. */
  next: FieldPlan | undefined;
  /** How many bytes the length of the value took last, 1 or 2. */
  lengthBytes: number;
}

/** A message: its fields. */
export class MessagePlan {
  /** What entering it means for the count of items. */
  readonly role: number;
  /** Whether it is a KeyValue, which is most of what a request has. */
  readonly attribute: boolean;
  /** The field that came first last time. */
  first: FieldPlan | undefined;
  readonly #fields = new Map<string, FieldPlan>();
  /** By the length of the name; a field is there by each of its names. */
  readonly #byLength: { readonly nameBytes: Uint8Array; readonly field: FieldPlan }[][] = [];

  constructor(name: MessageName) {
    this.role = roleOf(name);
    this.attribute = name === "KeyValue";
  }

  add(field: FieldPlan): void {
    for (const name of new Set([field.name, protoName(field.name)])) {
      this.#fields.set(name, field);
      (this.#byLength[name.length] ??= []).push({ nameBytes: new TextEncoder().encode(name), field });
    }
  }

  /** The field of this name; undefined when there is none. */
  named(name: string): FieldPlan | undefined {
    return this.#fields.get(name);
  }

  /** The field whose name stands in `bytes` from `start` to before `end`. */
  find(bytes: Uint8Array, start: number, end: number): FieldPlan | undefined {
    for (const { nameBytes, field } of this.#byLength[end - start] ?? NO_FIELDS) {
      let index = start;
      while (index < end && bytes[index] === nameBytes[index - start]) index++;
      if (index === end) return field;
    }
    return undefined;
  }
}

const NO_FIELDS: readonly { readonly nameBytes: Uint8Array; readonly field: FieldPlan }[] = [];

/** The wire type of each kind, where it is not packed (protobuf, "Encoding"). */
const WIRE_TYPE: Readonly<Record<ScalarKind, number>> = {
  string: 2,
  bytes: 2,
  traceId: 2,
  spanId: 2,
  profileId: 2,
  bool: 0,
  enum: 0,
  int32: 0,
  uint32: 0,
  int64: 0,
  uint64: 0,
  sint32: 0,
  fixed32: 5,
  fixed64: 1,
  sfixed64: 1,
  double: 1,
};

const PLANS = plans();

/** The plan of each signal's export request. */
export const REQUEST_PLAN = bySignal((signal) => PLANS[REQUEST_MESSAGE[signal]]);

function plans(): Readonly<Record<MessageName, MessagePlan>> {
  const all = {} as Record<MessageName, MessagePlan>;
  const names = Object.keys(MESSAGES) as MessageName[];
  for (const name of names) all[name] = new MessagePlan(name);
  for (const name of names) {
    // The deprecated scopes have a number on the wire alone: no published .proto gives them a name.
    const rows = MESSAGES[name].filter(({ number }) => number !== 1000);
    for (const { number, name: field, kind, repeated } of rows) {
      const scalar = isMessage(kind) ? undefined : kind;
      const packed = repeated && scalar !== undefined && WIRE_TYPE[scalar] !== 2;
      all[name].add({
        name: field,
        nameBytes: new TextEncoder().encode(`${field}"`),
        spelling: new Spelling(`"${field}":`),
        tag: tagBytes(number * 8 + (scalar === undefined || packed ? 2 : WIRE_TYPE[scalar])),
        kind: scalar,
        message: isMessage(kind) ? all[kind] : undefined,
        repeated,
        packed,
        enumNames: enumNamesOf(`${name}.${field}`),
        next: undefined,
        lengthBytes: 1,
      });
    }
  }
  return all;
}

function enumNamesOf(field: string): ReadonlyMap<string, number> | undefined {
  const names = ENUM_NAMES[field];
  return names && new Map(names.map((name, number) => [name, number]));
}

/** A tag as the one or two bytes of its varint, the first in the low eight bits. */
function tagBytes(tag: number): number {
  return tag < 0x80 ? tag : (tag & 0x7f) | 0x80 | ((tag >> 7) << 8);
}
