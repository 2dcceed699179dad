// Envoy with Headgate for pages of other origins, in front of a small service and with one Redis: the shipped
// configurations, changed only where a test must.

import { closeSync, existsSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { headgatePolicy, LIMITS, type Form } from "./policy.js";
import { freePort, start, stop, until } from "./process.js";
import type { Target } from "./target.js";

/** The project's root, from build/test/support. */
const ROOT = resolve(fileURLToPath(import.meta.url), "../../../../../..");

export function wasmFile(): string {
  return resolve(process.env.HEADGATE_WASM ?? join(ROOT, "target/headgate.wasm"));
}

/** `ENVOY`, else the one that `make` has fetched, else that of PATH. */
function envoyBinary(): string {
  const fetched = join(ROOT, ".tools/envoy-1.40.0/envoy");
  return process.env.ENVOY || (existsSync(fetched) ? fetched : "envoy");
}

export async function startEnvoy(form: Form): Promise<Target> {
  const dir = mkdtempSync(join(tmpdir(), "headgate-fetch-"));
  const service = await startService();
  const [listener, admin, redisPort] = [await freePort(), await freePort(), await freePort()];
  const log = join(dir, "envoy.log");
  const file = join(dir, "envoy.yaml");
  writeFileSync(file, configuration(form, { listener, admin, service: service.port, redis: redisPort }));

  const redis = start("redis-server", [
    ...["--port", `${redisPort}`, "--bind", "127.0.0.1", "--dir", dir],
    ...["--save", "", "--appendonly", "no"],
  ]);
  const output = openSync(log, "a");
  let envoy: ReturnType<typeof start> | undefined;
  const stopAll = async () => {
    if (envoy) await stop(envoy);
    await stop(redis);
    service.stop();
    rmSync(dir, { recursive: true, force: true });
  };
  try {
    await until(() => answers(redisPort), () => "redis-server does not start; is it installed?", redis);
    const args = ["-c", file, "--concurrency", "1", "--disable-hot-restart", "--log-level", "warning"];
    envoy = start(envoyBinary(), args, { stdio: ["ignore", output, output], cwd: ROOT });
    const say = () => `${envoyBinary()} does not start with the filter:\n${readFileSync(log, "utf8").slice(-2_000)}`;
    await until(() => counts(listener), say, envoy, 30_000);
  } catch (error) {
    await stopAll();
    throw error;
  } finally {
    closeSync(output);
  }
  return { url: `http://127.0.0.1:${listener}`, name: "Headgate", stop: stopAll };
}

/** The shipped recipe for pages of other origins, with the single Redis of another recipe. */
function configuration(form: Form, ports: Ports): string {
  const [cors, single] = ["cors", "single-redis"].map((name) => readFileSync(join(ROOT, `envoy/${name}.yaml`), "utf8"));
  const parts = [cors?.split(REDIS_CLUSTER)[0], single?.split(REDIS_CLUSTER)[1]];
  if (parts.includes(undefined)) throw new Error(`no cluster "redis" in envoy/single-redis.yaml`);
  let yaml = parts.join(REDIS_CLUSTER);
  const change = (from: string | RegExp, to: string) => {
    const changed = yaml.replace(from, () => to);
    if (changed === yaml) throw new Error(`envoy/cors.yaml has no ${from} any more`);
    yaml = changed;
  };
  change("port_value: 10000", `port_value: ${ports.listener}`);
  change("port_value: 9901", `port_value: ${ports.admin}`);
  change("port_value: 8080", `port_value: ${ports.service}`);
  change("port_value: 6379", `port_value: ${ports.redis}`);
  change(/value:\n +exempt:[^]*?(?=\n +vm_config:)/, `value: ${JSON.stringify(headgatePolicy(form))}`);
  change(/target\/headgate\.wasm/g, wasmFile());
  change(/{exact: "https:[^}]*}/, String.raw`{safe_regex: {regex: "http://127\\.0\\.0\\.1:\\d+"}}`);
  change(/allow_headers: ".*"/, `allow_headers: "${LIMITS.map(({ name }) => `x-${name}`).join(", ")}"`);
  change(/ +access_log:[^]*?(?=\n\n)/, "");
  return yaml;
}

const REDIS_CLUSTER = "\n  - name: redis\n";

interface Ports {
  listener: number;
  admin: number;
  service: number;
  redis: number;
}

/** The service behind Envoy. */
async function startService(): Promise<{ port: number; stop(): void }> {
  const server = createServer((_, response) => response.end('{"fine": true}'));
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as { port: number };
  return { port, stop: () => (server.closeAllConnections(), server.close()) };
}

function answers(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, "127.0.0.1");
    socket.on("connect", () => (socket.destroy(), resolve(true)));
    socket.on("error", () => resolve(false));
  });
}

/** Whether an answer has a quota: Envoy, the transport and Redis are up. */
async function counts(port: number): Promise<boolean> {
  const response = await fetch(`http://127.0.0.1:${port}/`, { headers: { "x-short": "is it up?" } });
  await response.arrayBuffer();
  return response.headers.has("x-ratelimit-remaining");
}
