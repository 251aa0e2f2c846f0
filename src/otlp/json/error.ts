/**
 * What may be wrong with a body that came as JSON.
 * @module
 */

/** A body that is not OTLP/JSON: what is wrong and at which path. Nothing of the body's content is repeated. */
export class JsonError extends Error {
  override readonly name = "JsonError";
  /** The path of the field, e.g. `resourceSpans[0].scopeSpans`; empty where the text as a whole is wrong. */
  readonly path: string;

  constructor(message: string, path = "") {
    super(message);
    this.path = path;
  }
}

/** A value that is JSON and not what its field wants, with the path that grows as it travels outwards. */
export class Fault extends Error {
  readonly path: string[] = [];
}
