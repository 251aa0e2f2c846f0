/**
 * Globs over names, as redaction and routes have them: `*` stands for any characters, `?` for one.
 * @module
 */

/** Whether a glob is for the whole of a text. Goes back to the last `*` alone: in time of the product of both lengths. */
export function matchesGlob(glob: string, text: string): boolean {
  let inGlob = 0;
  let inText = 0;
  let star = -1;
  let resumeAt = 0;
  while (inText < text.length) {
    const wanted = glob[inGlob];
    if (wanted === "*") {
      star = inGlob++;
      resumeAt = inText;
    } else if (wanted === "?" || wanted === text[inText]) {
      inGlob++;
      inText++;
    } else if (star >= 0) {
      inGlob = star + 1;
      inText = ++resumeAt;
    } else return false;
  }
  while (glob[inGlob] === "*") inGlob++;
  return inGlob === glob.length;
}
