// Serves the demo page on an origin of its own. Run as a program it starts an API too:
//
//   npm run demo

import { readFile } from "node:fs/promises";
import { createServer, type Server } from "node:http";
import { join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { startTarget } from "./target.js";

/** The package's root, from build/test/support. */
const PACKAGE = resolve(fileURLToPath(import.meta.url), "../../../..");

const TYPES: Record<string, string> = { html: "text/html", css: "text/css", js: "text/javascript" };

/** @returns the page's address, for an API at `api`, and what ends the server */
export async function serveDemo(api: string, port = 0): Promise<{ url: string; stop(): Promise<void> }> {
  const server = createServer(async (request, response) => {
    const path = new URL(request.url ?? "/", "http://demo").pathname;
    const name = path === "/" ? "index.html" : path.slice(1);
    const file = name.startsWith("headgate-fetch/")
      ? join(PACKAGE, "dist", name.slice("headgate-fetch/".length))
      : join(PACKAGE, "demo", name);
    const type = TYPES[name.split(".").at(-1) ?? ""];
    const content = type && !name.includes("..") ? await readFile(file).catch(() => undefined) : undefined;
    if (content) response.setHeader("content-type", `${type}; charset=utf-8`);
    response.writeHead(content ? 200 : 404).end(content);
  });
  await new Promise<void>((resolve) => server.listen(port, "127.0.0.1", resolve));
  const { port: own } = server.address() as { port: number };
  return { url: `http://127.0.0.1:${own}/?api=${encodeURIComponent(api)}`, stop: () => close(server) };
}

function close(server: Server): Promise<void> {
  server.closeAllConnections();
  return new Promise((resolve) => void server.close(() => resolve()));
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const target = await startTarget();
  const { url } = await serveDemo(target.url, Number(process.env.PORT ?? 0));
  console.log(`The API is ${target.name}. The page: ${url}`);
}
