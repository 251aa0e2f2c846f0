/** The part of cli-progress that is used: its own types are a package that brings all of Node's with it. */
export interface Options {
  readonly stream: NodeJS.WritableStream;
  readonly format: string;
  readonly barCompleteChar: string;
  readonly barIncompleteChar: string;
  readonly barsize: number;
  readonly hideCursor: boolean;
  readonly gracefulExit: boolean;
}

/** One bar. */
export class SingleBar {
  constructor(options: Options);
  start(total: number, startValue: number): void;
  update(value: number): void;
  stop(): void;
}
