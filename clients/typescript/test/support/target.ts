// What the tests call: Envoy with Headgate, started here; or, where there is no module yet, a stand-in that speaks
// the same headers; or whatever HEADGATE_URL names, with the limits of policy.ts in its configuration.

import { existsSync } from "node:fs";
import { startEnvoy, wasmFile } from "./envoy.js";
import type { Form } from "./policy.js";
import { startStandIn } from "./stand-in.js";

export interface Target {
  /** Without a slash at the end. */
  url: string;
  /** "Headgate" or "a stand-in"; for tables. */
  name: string;
  stop(): Promise<void>;
}

export async function startTarget(form: Form = "default"): Promise<Target> {
  const given = process.env.HEADGATE_URL;
  if (given) return { url: given.replace(/\/$/, ""), name: "Headgate", stop: async () => undefined };
  const standIn = process.env.HEADGATE === "stand-in";
  if (!standIn && existsSync(wasmFile())) return startEnvoy(form);
  // A run that means to judge Headgate must not pass without it.
  if (!standIn && process.env.CI) throw new Error(`no ${wasmFile()}: run \`make build\` first`);
  if (!standIn) console.error(`no ${wasmFile()}; testing against a stand-in (\`make build\` builds it)`);
  return startStandIn(form);
}
