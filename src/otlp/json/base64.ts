/**
 * Base64 decoded in place, standard or URL-safe, with or without padding: ProtoJSON takes all four (proto3, "ProtoJSON Format").
 * White space within it is skipped, as `atob` does.
 * @module
 */

/** The six bits of a character; else what it is. */
const SEXTETS = new Uint8Array(256).fill(255);
const OTHER = 255;
const WHITE_SPACE = 64;
const PADDING = 65;
for (const [index, character] of [..."ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"].entries()) {
  SEXTETS[character.charCodeAt(0)] = index;
}
SEXTETS["-".charCodeAt(0)] = 62;
SEXTETS["_".charCodeAt(0)] = 63;
SEXTETS["=".charCodeAt(0)] = PADDING;
for (const character of " \t\n\f\r") SEXTETS[character.charCodeAt(0)] = WHITE_SPACE;

/**
 * Decodes what stands in `bytes` from `start` to before `end`; the result takes its place from `start` on.
 * @returns the byte behind the result; -1 when it is not base64.
 */
export function decodeBase64(bytes: Uint8Array, start: number, end: number): number {
  let to = start;
  let bits = 0;
  let sextets = 0;
  let padding = 0;
  for (let from = start; from < end; from++) {
    const sextet = SEXTETS[bytes[from]!]!;
    if (sextet < 64) {
      if (padding > 0) return -1;
      bits = (bits << 6) | sextet;
      if ((++sextets & 3) === 0) {
        bytes[to++] = bits >> 16;
        bytes[to++] = bits >> 8;
        bytes[to++] = bits;
      }
    } else if (sextet === PADDING) padding++;
    else if (sextet === OTHER) return -1;
  }
  // Padding, where there is any, fills up four characters.
  const rest = sextets & 3;
  if (rest === 1 || padding > 2 || (padding > 0 && rest + padding !== 4)) return -1;
  if (rest > 1) bytes[to++] = bits >> (rest === 2 ? 4 : 10);
  if (rest === 3) bytes[to++] = bits >> 2;
  return to;
}
