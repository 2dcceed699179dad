// Runs the storm and writes its table and plot into the package's README:
//
//   npm run storm                  two minutes, or STORM_SECONDS
//   npm run storm -- --only-show   writes nothing

import { readFileSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { plot } from "./plot.js";
import { storm, table } from "./storm.js";
import { startTarget } from "./target.js";

const PACKAGE = resolve(fileURLToPath(import.meta.url), "../../../..");
const README = join(PACKAGE, "README.md");
const BETWEEN = /(<!-- storm -->\n)[^]*?(<!-- \/storm -->)/;

const seconds = Number(process.env.STORM_SECONDS ?? 120);
const target = await startTarget();
try {
  const results = await storm(target.url, seconds * 1000);
  const text = `${seconds} s, against ${target.name === "Headgate" ? "Envoy with Headgate and one Redis" : target.name}:\n\n${table(results)}`;
  console.log(text);
  if (!process.argv.includes("--only-show")) {
    const readme = readFileSync(README, "utf8");
    writeFileSync(README, readme.replace(BETWEEN, (_, before, after) => `${before}${text}\n${after}`));
    writeFileSync(join(PACKAGE, "storm.svg"), plot(results));
  }
} finally {
  await target.stop();
}
