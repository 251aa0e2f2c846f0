/**
 * A way around the faults of `grpc_death.ts` from outside of Deno: a session is destroyed in a turn of its own, never while a frame of it is
 * being handled. It leans on `node:http2` calling its own public method, so it is evidence and no more.
 */
interface Destroyed {
  destroy(error?: Error, code?: number): void;
}

export function guard(session: Destroyed): void {
  const destroy = session.destroy.bind(session);
  session.destroy = (error?: Error, code?: number) => {
    setImmediate(destroy, error, code);
  };
}
