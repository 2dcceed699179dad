// Checks Kubernetes manifests against the schemas of their kinds: node check.mjs FILE…
//
// Prints a line for each mistake; exit status 1 if there is one. Kubernetes', Istio's (those of 1.29) and the Gateway
// API's schemas come from npm. Envoy Gateway's are in no registry: envoy-gateway.json has the part of its API that the
// manifests use, and nothing more.

import { readFileSync } from "node:fs";
import Ajv from "ajv/dist/2020.js";
import { parseAllDocuments } from "yaml";

const envoyGateway = JSON.parse(readFileSync(new URL("envoy-gateway.json", import.meta.url), "utf8"));

/** The check of a kind: takes an object, throws or returns messages. */
async function checkOf({ apiVersion, kind }) {
  if (apiVersion === "gateway.envoyproxy.io/v1alpha1") {
    const check = new Ajv({ allErrors: true }).compile({ ...envoyGateway, $ref: `#/$defs/${kind}` });
    return (object) => (check(object) ? [] : check.errors.map((e) => `${e.instancePath} ${e.message} ${JSON.stringify(e.params)}`));
  }
  if (apiVersion === "kustomize.config.k8s.io/v1beta1") return () => []; // kubectl itself reads it
  const packages = { "istio.io": "@kubernetes-models/istio", "gateway.networking.k8s.io": "@kubernetes-models/gateway-api" };
  const name = Object.entries(packages).find(([group]) => apiVersion.split("/")[0].endsWith(group))?.[1] ?? "kubernetes-models";
  const { [kind]: Model } = await import(`${name}/${apiVersion}/${kind}`);
  return (object) => strictly(object, (seen) => Model.prototype.validate.call(seen));
}

/**
 * These schemas let unknown fields pass, as an API server drops them: a misspelt one would never be noticed. So the
 * validator is watched: of an object that it looks into, what it does not ask for is no field.
 */
function strictly(object, validate) {
  const looks = new Map(); // object → the keys asked for, and whether all were
  const watch = (value, path) => {
    if (value === null || typeof value !== "object") return value;
    const entry = { path, value, keys: new Set(), all: Array.isArray(value) };
    const wrapped = new Map();
    const proxy = new Proxy(value, {
      get(target, key) {
        entry.keys.add(key);
        if (!Object.hasOwn(target, key)) return target[key];
        if (!wrapped.has(key)) wrapped.set(key, watch(target[key], `${path}/${String(key)}`));
        return wrapped.get(key);
      },
      ownKeys(target) {
        entry.all = true; // a map: any key may be there
        return Reflect.ownKeys(target);
      },
    });
    looks.set(proxy, entry);
    return proxy;
  };
  const messages = [];
  try {
    validate(watch(object, ""));
  } catch (error) {
    const details = error.ajv?.errors ?? error.errors ?? [];
    messages.push(...(details.length ? details.map((e) => `${e.instancePath} ${e.message}`) : [error.message]));
  }
  for (const { path, value, keys, all } of looks.values()) {
    if (all || keys.size === 0) continue;
    for (const key of Object.keys(value)) if (!keys.has(key)) messages.push(`${path}/${key} is no field of this kind`);
  }
  return messages;
}

let mistakes = 0;
for (const file of process.argv.slice(2)) {
  for (const document of parseAllDocuments(readFileSync(file, "utf8"))) {
    const object = document.toJS();
    let messages;
    try {
      messages = document.errors.length ? document.errors.map(String) : (await checkOf(object))(object);
    } catch (error) {
      messages = [`no schema for ${object?.apiVersion} ${object?.kind}: ${error.message}`];
    }
    for (const message of messages) console.log(`${file}: ${object?.kind} ${object?.metadata?.name}: ${message}`);
    mistakes += messages.length;
  }
}
process.exit(mistakes ? 1 : 0);
