/**
 * What the options of `token` may say. A value that cannot be used is wrong use, told under the option's own name.
 * @module
 */
import { InvalidArgumentError } from "commander";
import type { z } from "zod";
import { parseDuration } from "../config/units.ts";
import { SIGNAL_NAMES, type SignalName } from "../signal.ts";
import { LIMITS, MOMENT, ORIGINS, RESOURCE_ATTRIBUTES, TOKEN_ID } from "../receiver/senders/tokens_schema.ts";

/** Reads one option's value; returns what is written to the file. */
export type Read<Value> = (value: string) => Value;

/** As the tokens file has it, where its schema takes it. @param wanted Completes "It must be …". */
function checked<Value>(schema: z.ZodType, wanted: string, read: Read<Value>): Read<Value> {
  return (value) => {
    const said = read(value);
    if (schema.safeParse(said).success) return said;
    throw new InvalidArgumentError(`It must be ${wanted}.`);
  };
}

const asWritten = (value: string): string => value;
/** `Number("")` is 0, which nobody means. */
const asNumber = (value: string): number => value.trim() === "" ? NaN : Number(value);
const limits = LIMITS.shape;

/** Each limit of a sender, by the file's name for it. */
export const limit = {
  requests_per_second: checked(limits.requests_per_second, "a number above 0", asNumber),
  items_per_second: checked(limits.items_per_second, "a number above 0", asNumber),
  bytes_per_second: checked(limits.bytes_per_second, "a size such as 1MiB", asWritten),
  concurrent_requests: checked(limits.concurrent_requests, "a whole number from 1 to 1000000", asNumber),
  max_request_body_size: checked(limits.max_request_body_size, "a size such as 64KiB", asWritten),
  queue_share: checked(limits.queue_share, "a number above 0, up to 1", asNumber),
};

export const id = checked(TOKEN_ID, "1 to 63 letters, digits, '.', '_' and '-', a letter or digit first", asWritten);
export const origins = checked(
  ORIGINS,
  "origins such as https://app.example, without a path, with commas between",
  listed,
);
export const moment = checked(MOMENT, "a time with its zone, such as 2027-01-31T12:00:00Z", asWritten);

export const attributes = checked(
  RESOURCE_ATTRIBUTES,
  "1 to 32 attributes such as tenant.id=acme,tier=gold, keys of at most 255 characters, values of at most 1024",
  (value): Record<string, string> =>
    Object.fromEntries(
      listed(value).map((pair) => {
        const at = pair.indexOf("=");
        if (at < 1) throw new InvalidArgumentError(`${pair} is no attribute; use key=value.`);
        return [pair.slice(0, at), pair.slice(at + 1)];
      }),
    ),
);

/** A duration between two bounds, as it is written. */
export function duration(min: string, max: string): Read<string> {
  const [low, high] = [parseDuration(min) ?? 0, parseDuration(max) ?? 0];
  return (value) => {
    const ms = parseDuration(value);
    if (ms !== undefined && ms >= low && ms <= high) return value;
    throw new InvalidArgumentError(`It must be a time such as 5m, from ${min} to ${max}.`);
  };
}

export function signals(value: string): SignalName[] {
  return listed(value.toLowerCase()).map((name) => {
    const signal = SIGNAL_NAMES.find((known) => known === name);
    if (signal === undefined) throw new InvalidArgumentError(`${name} is no signal; use ${SIGNAL_NAMES.join(", ")}.`);
    return signal;
  });
}

function listed(value: string): string[] {
  return value.split(",").map((part) => part.trim());
}
