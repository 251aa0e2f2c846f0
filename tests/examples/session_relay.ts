/**
 * A Hono app with a login of its own, which takes its pages' telemetry below /otlp: the session's cookie stands in place of a
 * token. The pages' exporter sends to `/otlp/v1/traces`, and the browser sends the cookie along.
 */
import { type Context, Hono, type Next } from "hono";
import { deleteCookie, getCookie, setCookie } from "hono/cookie";
import { createRelay, loadConfig } from "../../src/mod.ts";

const sessions = new Set<string>();

/** Lets nobody on who is not logged in, and no page of another site. */
async function loggedIn(c: Context, next: Next): Promise<Response | void> {
  const session = getCookie(c, "session");
  if (session === undefined || !sessions.has(session)) return c.text("Log in first\n", 401);
  const site = c.req.header("sec-fetch-site");
  if (site !== undefined && site !== "same-origin") return c.text("Only this site's pages may send\n", 403);
  await next();
}

// `insecure`: the relay asks for no token, since `loggedIn` has asked already. EDGEFERRY_RECEIVER_LIMITS_… bound all pages.
const { config } = await loadConfig({ env: { ...Deno.env.toObject(), EDGEFERRY_RECEIVER_AUTH_INSECURE: "true" } });
const relay = await createRelay(config);

const app = new Hono();
app.post("/login", async (c) => {
  const { password } = await c.req.parseBody();
  if (password !== Deno.env.get("PASSWORD")) return c.text("That is not it\n", 403);
  const session = crypto.randomUUID();
  sessions.add(session);
  setCookie(c, "session", session, { httpOnly: true, sameSite: "Strict", path: "/" });
  return c.text("Welcome\n");
});
app.post("/logout", (c) => {
  sessions.delete(deleteCookie(c, "session") ?? "");
  return c.text("Bye\n");
});
app.use("/otlp/v1/*", loggedIn);
app.route("/otlp", relay.app);

const server = Deno.serve({ hostname: "127.0.0.1", port: Number(Deno.env.get("PORT") ?? 8080) }, app.fetch);
const { promise: stopped, resolve: stop } = Promise.withResolvers<void>();
for (const signal of ["SIGINT", "SIGTERM"] as const) Deno.addSignalListener(signal, stop);
await Promise.race([stopped, relay.failed]);
await relay.stop();
await server.shutdown();
Deno.exit(0);
