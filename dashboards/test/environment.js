// What `make run` and `make dashboard` start, on free ports and in a folder of its own, with callers; and a browser.

import { execFile, spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { createRequire } from "node:module";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { fileURLToPath } from "node:url";

export const ROOT = resolve(fileURLToPath(import.meta.url), "../../..");
const { chromium } = createRequire(join(ROOT, ".tools/dashboard/"))("playwright-core");

const BROWSERS = ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome", "/snap/bin/chromium"];
const FLAGS = [
  ...["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"],
  ...["--disable-background-networking", "--disable-component-update", "--disable-sync"],
];

export function launch() {
  const executablePath = process.env.CHROMIUM ?? BROWSERS.find(existsSync) ?? "chromium";
  return chromium.launch({ executablePath, args: FLAGS });
}

/** Ends with the test, however that ends. */
export async function startEnvironment() {
  const dir = mkdtempSync(join(tmpdir(), "headgate-dashboard-"));
  const names = ["PORT", "ADMIN_PORT", "UPSTREAM_PORT", "REDIS_PORT", "PROMETHEUS_PORT"];
  const ports = await freePorts(names.length);
  const setting = Object.fromEntries(names.map((name, at) => [name, `${ports[at]}`]));
  const env = { ...process.env, VARIANT: "single-redis", ...setting, RUN: dir };
  const options = { cwd: ROOT, env, timeout: 60_000 };
  const run = (command) =>
    new Promise((done) =>
      execFile("scripts/run.sh", [command], options, (error, stdout, stderr) => done({ code: error?.code ?? 0, stdout, stderr })),
    );
  const stop = () => {
    spawnSync("scripts/run.sh", ["stop"], options);
    rmSync(dir, { recursive: true, force: true });
  };
  process.once("exit", stop);
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"]) process.once(signal, () => process.exit(1));
  return { run, stop, api: `http://127.0.0.1:${setting.PORT}/`, prometheus: `http://127.0.0.1:${setting.PROMETHEUS_PORT}` };
}

async function freePorts(count) {
  const servers = Array.from({ length: count }, () => createServer());
  await Promise.all(servers.map((server) => new Promise((done) => server.listen(0, "127.0.0.1", done))));
  const ports = servers.map((server) => server.address().port);
  await Promise.all(servers.map((server) => new Promise((done) => server.close(done))));
  return ports;
}

/** Some callers, one of whom asks for more than the shipped policy grants. @returns what ends them */
export function callers(api) {
  let n = 0;
  const timer = setInterval(() => {
    const key = n++ % 3 === 0 ? `caller-${n % 7}` : "greedy";
    fetch(api, { headers: { "x-api-key": key } }).then((response) => response.arrayBuffer(), () => {});
  }, 10);
  return () => clearInterval(timer);
}
