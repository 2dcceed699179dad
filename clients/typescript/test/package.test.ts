// The package as it would be published: packed by npm, unpacked in a project of its own, and used there by the examples
// of the README.

import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import { cpSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { after, before, describe, it } from "node:test";
import { publint } from "publint";
import { formatMessage } from "publint/utils";

const PACKAGE = resolve(fileURLToPath(import.meta.url), "../../..");
const TSC = join(PACKAGE, "node_modules/typescript/bin/tsc");
const README = readFileSync(join(PACKAGE, "README.md"), "utf8");

/** What the examples take for granted. */
const GLOBALS = `
declare const api: import("headgate-fetch").RateLimitFetch;
declare const user: { id: string };
declare function showToast(text: string): void;
declare function hideToast(): void;
declare function showNote(text: string): void;`;

interface Manifest {
  name: string;
  files: string[];
  exports: { ".": { types: string; default: string } };
  [field: string]: unknown;
}

describe("the package", () => {
  let project: string;
  let unpacked: string;
  let manifest: Manifest;
  before(() => {
    project = mkdtempSync(join(tmpdir(), "headgate-package-"));
    const [packed] = JSON.parse(execFileSync("npm", ["pack", "--json", "--pack-destination", project], { cwd: PACKAGE, encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] }));
    unpacked = join(project, "node_modules/headgate-fetch");
    mkdirSync(unpacked, { recursive: true });
    execFileSync("tar", ["xzf", join(project, packed.filename), "-C", unpacked, "--strip-components=1"]);
    symlinkSync(join(PACKAGE, "node_modules/@types"), join(project, "node_modules/@types"));
    writeFileSync(join(project, "package.json"), '{"type": "module"}');
    manifest = JSON.parse(readFileSync(join(unpacked, "package.json"), "utf8"));
  });
  after(() => rmSync(project, { recursive: true, force: true }));

  /** Compiles files of the project, as its user would. */
  const compile = (name: string, options: object, files: string[]) => {
    const config = join(project, `tsconfig.${name}.json`);
    const compilerOptions = { target: "ES2022", strict: true, noEmit: true, skipLibCheck: false, types: [], ...options };
    writeFileSync(config, JSON.stringify({ compilerOptions, files }));
    const { status, stdout } = spawnSync(process.execPath, [TSC, "-p", config], { encoding: "utf8" });
    assert.equal(status, 0, stdout);
  };

  it("has what it exports, the licence, and nothing of the tests", () => {
    for (const file of [manifest.exports["."].types, manifest.exports["."].default, "LICENSE", "README.md", "storm.svg"]) {
      assert.ok(existsSync(join(unpacked, file)), file);
    }
    assert.deepEqual(readdirSync(unpacked).sort(), ["LICENSE", "README.md", "dist", "package.json", "src", "storm.svg"]);
  });
  it("says where it comes from, and is not published without", () => {
    const { repository, bugs, homepage } = manifest as unknown as { repository: { url: string; directory: string }; bugs: { url: string }; homepage: string };
    for (const url of [repository.url.replace(/^git\+/, ""), bugs.url, homepage]) assert.equal(new URL(url).protocol, "https:");
    assert.ok(existsSync(join(PACKAGE, "../..", repository.directory, "package.json")));
    const script = (manifest.scripts as Record<string, string>).prepublishOnly ?? assert.fail("no guard");
    const published = (text: string) => {
      writeFileSync(join(project, "package.json"), text);
      const { status } = spawnSync(script, { cwd: project, shell: true });
      writeFileSync(join(project, "package.json"), '{"type": "module"}');
      return status === 0;
    };
    assert.equal(published(JSON.stringify(manifest)), !JSON.stringify(manifest).includes("example.com"));
    assert.equal(published(JSON.stringify(manifest).replaceAll("example.com", "headgate.test")), true);
  });
  it("passes publint", async () => {
    const { messages, pkg } = await publint({ pkgDir: unpacked, pack: false, strict: true });
    assert.deepEqual(messages.map((message) => formatMessage(message, pkg ?? {})), []);
  });
  it("has types for Node, by each way to resolve them", () => {
    cpSync(join(PACKAGE, "test/types/consumer.ts"), join(project, "consumer.ts"));
    writeFileSync(join(project, "required.cts"), 'import { readQuotas } from "headgate-fetch";\nreadQuotas(new Headers(), 0)[0]?.remaining.toFixed();\n');
    const node = { lib: ["ES2022"], types: ["node"] };
    compile("node16", { ...node, module: "node16" }, ["consumer.ts"]);
    compile("nodenext", { ...node, module: "nodenext", exactOptionalPropertyTypes: true }, ["consumer.ts", "required.cts"]);
  });
  it("loads by its name, in Node and as one file for a page", () => {
    const program = 'import * as all from "headgate-fetch"; console.log(Object.keys(all).join(" "))';
    const names = execFileSync(process.execPath, ["--input-type=module", "-e", program], { cwd: project, encoding: "utf8" });
    for (const name of ["createRateLimitFetch", "QuotaWaitError", "CircuitOpenError", "cacheApi", "isStale"]) assert.ok(names.includes(name), name);
  });

  const blocks = (language: string) => [...README.matchAll(new RegExp(`\`\`\`${language}\n([^]*?)\`\`\``, "g"))].map(([, text]) => text ?? "");
  const browser = { lib: ["ES2022", "DOM", "DOM.Iterable"], module: "esnext", moduleResolution: "bundler" };
  const write = (name: string, text: string) => {
    writeFileSync(join(project, name), `${text}\nexport {};\n`);
    return name;
  };

  it("has examples for React and in TypeScript that compile", () => {
    const [react = "", ...others] = blocks("tsx");
    assert.ok(react.includes("useEffect") && others.length === 0);
    const files = blocks("ts").map((text, i) => write(`example${i}.ts`, text));
    assert.ok(files.length > 1);
    writeFileSync(join(project, "globals.d.ts"), GLOBALS);
    compile("browser", { ...browser, jsx: "react-jsx" }, ["globals.d.ts", "consumer.ts", write("react.tsx", react), ...files]);
  });
  it("has examples in plain JavaScript that compile, types and all", () => {
    const scripts = blocks("html").flatMap((html) => [...html.matchAll(/<script type="module">\n([^]*?)<\/script>/g)].map(([, text]) => text ?? ""));
    assert.equal(scripts.length, 1);
    const local = /from "\/(node_modules\/[^"]*)"/.exec(scripts[0] ?? "")?.[1] ?? assert.fail("no import");
    assert.ok(existsSync(join(project, local)), local);
    const demo = readFileSync(join(PACKAGE, "demo/demo.js"), "utf8").replace("./headgate-fetch/index.js", "headgate-fetch");
    const texts = [...scripts.map((text) => text.replace(`"/${local}"`, '"headgate-fetch"')), ...blocks("js"), demo];
    const files = texts.map((text, i) => write(`plain${i}.js`, text));
    compile("js", { ...browser, allowJs: true, checkJs: true, strict: false }, ["globals.d.ts", ...files]);
  });
});
