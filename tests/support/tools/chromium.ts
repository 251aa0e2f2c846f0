/**
 * A headless Chromium, driven by its DevTools protocol over a WebSocket.
 */
import { Buffer } from "node:buffer";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { spawnTool } from "./tool.ts";

/** One tab. */
export interface Tab {
  /** Goes to a URL and resolves with the page's title, once it has one. */
  visit(url: string): Promise<string>;
  /** What the page's console and the browser have logged. */
  readonly log: readonly string[];
  /** What the page shows, as text. */
  text(): Promise<string>;
  /** A picture of all of it, as PNG. */
  screenshot(): Promise<Uint8Array>;
  /** Shows pages at this width, in this colour scheme. */
  emulate(look: { readonly width: number; readonly scheme: "light" | "dark" }): Promise<void>;
  /** Evaluates an expression in the page; a promise is awaited. */
  evaluate<Value>(expression: string): Promise<Value>;
  /** Presses a key, e.g. `Tab` or `Enter`. */
  press(key: string): Promise<void>;
  /** The accessibility tree, flat: what a screen reader is told. */
  accessible(): Promise<readonly { readonly role: string; readonly name: string }[]>;
}

/** A browser with a profile of its own. */
export interface Browser extends AsyncDisposable {
  newTab(): Promise<Tab>;
}

const FLAGS = [
  "--headless",
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--disable-dev-shm-usage",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
  "--remote-debugging-port=0",
];

type Message = {
  id?: number;
  sessionId?: string;
  method?: string;
  params?: Record<string, unknown>;
  result?: unknown;
  error?: unknown;
};

/** Starts it. */
export async function startChromium(): Promise<Browser> {
  const profile = await mkdtemp(join(tmpdir(), "edgeferry-chromium-"));
  const child = spawnTool("chromium", {
    args: [...FLAGS, `--user-data-dir=${profile}`, "about:blank"],
    stdin: "null",
    stdout: "null",
    stderr: "piped",
  });
  const { url, drained } = await debuggingUrl(child.stderr);
  const socket = new WebSocket(url);
  await new Promise((resolve, reject) => {
    socket.onopen = resolve;
    socket.onerror = () => reject(new Error("Chromium did not take the DevTools connection"));
  });
  let lastId = 0;
  const asked = new Map<number, PromiseWithResolvers<unknown>>();
  const listeners = new Set<(message: Message) => void>();
  socket.onmessage = ({ data }) => {
    const message: Message = JSON.parse(String(data));
    const waiting = message.id === undefined ? undefined : asked.get(message.id);
    if (waiting === undefined) { for (const listener of [...listeners]) listener(message); }
    else if (message.error === undefined) waiting.resolve(message.result);
    else waiting.reject(new Error(JSON.stringify(message.error)));
  };
  function ask<Result>(method: string, params: object = {}, sessionId?: string): Promise<Result> {
    const waiting = Promise.withResolvers<unknown>();
    asked.set(++lastId, waiting);
    socket.send(JSON.stringify({ id: lastId, method, params, ...(sessionId === undefined ? {} : { sessionId }) }));
    return waiting.promise as Promise<Result>;
  }

  return {
    async newTab() {
      const { targetId } = await ask<{ targetId: string }>("Target.createTarget", { url: "about:blank" });
      const { sessionId } = await ask<{ sessionId: string }>("Target.attachToTarget", { targetId, flatten: true });
      const log: string[] = [];
      listeners.add((message) => {
        if (message.sessionId !== sessionId) return;
        if (message.method === "Log.entryAdded" || message.method === "Runtime.consoleAPICalled") {
          log.push(JSON.stringify(message.params));
        }
      });
      for (const domain of ["Page", "Runtime", "Log"]) await ask(`${domain}.enable`, {}, sessionId);
      const evaluate = async <Value>(expression: string): Promise<Value> => {
        const { result, exceptionDetails } = await ask<{ result: { value: Value }; exceptionDetails?: unknown }>(
          "Runtime.evaluate",
          { expression, awaitPromise: true, returnByValue: true },
          sessionId,
        );
        if (exceptionDetails !== undefined) throw new Error(JSON.stringify(exceptionDetails));
        return result.value;
      };
      return {
        log,
        async visit(url) {
          // By way of a blank page: a change of the fragment alone loads nothing.
          for (const to of ["about:blank", url]) {
            const loaded = Promise.withResolvers<void>();
            const listener = ({ method, sessionId: from }: Message) => {
              if (method === "Page.loadEventFired" && from === sessionId) loaded.resolve();
            };
            listeners.add(listener);
            await ask("Page.navigate", { url: to }, sessionId);
            await loaded.promise;
            listeners.delete(listener);
          }
          const titled = `new Promise((resolve) => {
            const look = () => document.title === "" ? setTimeout(look, 5) : resolve(document.title);
            look();
          })`;
          return await evaluate<string>(titled);
        },
        text: () => evaluate<string>("document.body.innerText"),
        evaluate,
        async screenshot() {
          const { data } = await ask<{ data: string }>(
            "Page.captureScreenshot",
            { captureBeyondViewport: true },
            sessionId,
          );
          return Buffer.from(data, "base64");
        },
        async emulate({ width, scheme }) {
          const metrics = { width, height: 800, deviceScaleFactor: 1, mobile: width < 600 };
          await ask("Emulation.setDeviceMetricsOverride", metrics, sessionId);
          const features = [{ name: "prefers-color-scheme", value: scheme }];
          await ask("Emulation.setEmulatedMedia", { features }, sessionId);
        },
        async press(key) {
          const text = key === "Enter" ? { text: "\r" } : {};
          const code = { Tab: 9, Enter: 13 }[key] ?? 0;
          for (const type of ["keyDown", "keyUp"]) {
            await ask("Input.dispatchKeyEvent", { type, key, windowsVirtualKeyCode: code, ...text }, sessionId);
          }
        },
        async accessible() {
          type Node = { ignored: boolean; role?: { value: string }; name?: { value: string } };
          const { nodes } = await ask<{ nodes: Node[] }>("Accessibility.getFullAXTree", {}, sessionId);
          return nodes.filter(({ ignored }) => !ignored).map(({ role, name }) => ({
            role: role?.value ?? "",
            name: name?.value ?? "",
          }));
        },
      };
    },
    async [Symbol.asyncDispose]() {
      const closed = new Promise((resolve) => socket.onclose = resolve);
      ask("Browser.close").catch(() => {});
      await child.status;
      await closed;
      await drained;
      await rm(profile, { recursive: true, force: true, maxRetries: 5 });
    },
  };
}

/** Where Chromium says that it listens; the rest of what it says is read and forgotten. */
async function debuggingUrl(stderr: ReadableStream<Uint8Array>): Promise<{ url: string; drained: Promise<void> }> {
  const reader = stderr.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) throw new Error(`Chromium ended: ${text}`);
    text += value;
    const url = /DevTools listening on (ws:\S+)/.exec(text)?.[1];
    if (url === undefined) continue;
    const drained = (async () => {
      while (!(await reader.read()).done);
    })();
    return { url, drained };
  }
}
