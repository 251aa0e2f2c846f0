/** Posts requests by gRPC, on one connection that is made anew when it has ended. */
import { within } from "../../../src/within.ts";
import { GRPC_CODE } from "../../../src/otlp/grpc.ts";
import { GrpcClient } from "../far_end/grpc_client.ts";

/** What a code is by HTTP, as far as a test of what is kept asks. */
const STATUSES: ReadonlyMap<number, number> = new Map([
  [GRPC_CODE.OK, 200],
  [GRPC_CODE.INVALID_ARGUMENT, 400],
  [GRPC_CODE.RESOURCE_EXHAUSTED, 429],
  [GRPC_CODE.UNAVAILABLE, 503],
  [GRPC_CODE.DEADLINE_EXCEEDED, 503],
]);

export class GrpcPost implements AsyncDisposable {
  #client: GrpcClient | undefined;
  #url = "";

  /** Posts traces as protobuf. The status that HTTP would have, 500 for another; undefined without an answer. */
  async post(
    url: string,
    request: { readonly body: Uint8Array; readonly headers: Readonly<Record<string, string>> },
    withinMs: number,
  ): Promise<number | undefined> {
    try {
      if (this.#client === undefined || this.#url !== url || !this.#client.http2.usable) {
        await this[Symbol.asyncDispose]();
        this.#client = await GrpcClient.connect(url);
        this.#url = url;
      }
      const encoding = request.headers["content-encoding"];
      const answer = this.#client.call(request.body, {
        metadata: encoding === undefined ? [] : [["grpc-encoding", encoding]],
        compressed: encoding !== undefined,
      });
      if (!await within(answer.then(() => {}), withinMs)) {
        await this[Symbol.asyncDispose]();
        return undefined;
      }
      return STATUSES.get((await answer).code) ?? 500;
    } catch {
      return undefined;
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#client?.[Symbol.asyncDispose]();
    this.#client = undefined;
  }
}
