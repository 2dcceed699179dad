// Envoy with Headgate and one Redis, from the shipped configuration, changed only where a test must.

import { closeSync, existsSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from "node:fs";
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
  const [port, admin, redisPort] = [await freePort(), await freePort(), await freePort()];
  const log = join(dir, "envoy.log");
  const file = join(dir, "envoy.yaml");
  writeFileSync(file, configuration(form, port, admin, redisPort));

  const redis = start("redis-server", [
    ...["--port", `${redisPort}`, "--bind", "127.0.0.1", "--dir", dir],
    ...["--save", "", "--appendonly", "no"],
  ]);
  const output = openSync(log, "a");
  let envoy: ReturnType<typeof start> | undefined;
  const stopAll = async () => {
    if (envoy) await stop(envoy);
    await stop(redis);
    rmSync(dir, { recursive: true, force: true });
  };
  try {
    await until(() => answers(redisPort), () => "redis-server does not start; is it installed?", redis);
    const args = ["-c", file, "--concurrency", "1", "--disable-hot-restart", "--log-level", "warning"];
    envoy = start(envoyBinary(), args, { stdio: ["ignore", output, output], cwd: ROOT });
    const say = () => `${envoyBinary()} does not start with the filter:\n${readFileSync(log, "utf8").slice(-2_000)}`;
    await until(() => counts(port), say, envoy, 30_000);
  } catch (error) {
    await stopAll();
    throw error;
  } finally {
    closeSync(output);
  }
  return { url: `http://127.0.0.1:${port}`, name: "Headgate", stop: stopAll };
}

function configuration(form: Form, port: number, admin: number, redis: number): string {
  let yaml = readFileSync(join(ROOT, "envoy/single-redis.yaml"), "utf8");
  const change = (from: string | RegExp, to: string) => {
    const changed = yaml.replace(from, () => to);
    if (changed === yaml) throw new Error(`envoy/single-redis.yaml has no ${from} any more`);
    yaml = changed;
  };
  change("port_value: 10000", `port_value: ${port}`);
  change("port_value: 9901", `port_value: ${admin}`);
  change("port_value: 6379", `port_value: ${redis}`);
  change(/value:\n +identify:[^]*?(?=\n +vm_config:)/, `value: ${JSON.stringify(headgatePolicy(form))}`);
  change(/target\/headgate\.wasm/g, wasmFile());
  // The service behind Envoy, and pages of other origins that may call it and read its headers.
  const answer = { status: 200, body: { inline_string: '{"fine": true}' } };
  change(/routes: \[.*\]/, `routes: [{match: {prefix: /}, direct_response: ${JSON.stringify(answer)}}]`);
  change(/( +)domains: \["\*"\]/, `              domains: ["*"]\n              typed_per_filter_config: ${JSON.stringify(CORS)}`);
  change(/ +- name: headgate\b.*/, `          - ${JSON.stringify(CORS_FILTER)}\n          - name: headgate`);
  change(/ +access_log:[^]*?(?=\n\n)/, "");
  return yaml;
}

/** In front of Headgate, it answers preflights before they are counted, and adds its headers to a 429 as well. */
const CORS_FILTER = {
  name: "envoy.filters.http.cors",
  typed_config: { "@type": "type.googleapis.com/envoy.extensions.filters.http.cors.v3.Cors" },
};

const CORS = {
  "envoy.filters.http.cors": {
    "@type": "type.googleapis.com/envoy.extensions.filters.http.cors.v3.CorsPolicy",
    allow_origin_string_match: [{ safe_regex: { regex: "http://127\\.0\\.0\\.1:\\d+" } }],
    allow_methods: "GET, POST",
    allow_headers: LIMITS.map(({ name }) => `x-${name}`).join(", "),
    expose_headers: [
      ...["retry-after", "ratelimit", "ratelimit-policy"],
      ...["x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset"],
    ].join(", "),
    max_age: "600",
  },
};

function answers(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, "127.0.0.1");
    socket.on("connect", () => (socket.destroy(), resolve(true)));
    socket.on("error", () => resolve(false));
  });
}

/** Whether a call comes back with figures: all of the road is up, to Redis and back. */
async function counts(port: number): Promise<boolean> {
  const response = await fetch(`http://127.0.0.1:${port}/`, { headers: { "x-short": "is it up?" } });
  await response.arrayBuffer();
  return response.headers.has("x-ratelimit-remaining");
}
