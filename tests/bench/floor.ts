/** The floor of every comparison: a bare Hono handler that reads the body and answers 200. Prints its port. */
import { Hono } from "hono";

const app = new Hono();
app.post("/v1/traces", async (context) => {
  await context.req.arrayBuffer();
  return context.body(null, 200, { "content-type": "application/x-protobuf" });
});
Deno.serve({
  hostname: "127.0.0.1",
  port: 0,
  onListen: ({ port }) => console.log(JSON.stringify({ port })),
}, app.fetch);
