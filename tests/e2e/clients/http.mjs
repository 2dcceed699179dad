// HTTP clients that retry by themselves, for the tests of clients that retry:
//
//   node http.mjs got|openai PORT PATH COUNT
//
// Makes COUNT calls, one after the other, and prints the statuses that its caller gets, the headers of the refusals
// that the client met in between, and the timers that it set, in ms.
const [, , name, port, path, count] = process.argv;
const base = `http://127.0.0.1:${port}${path}`;

const timers = [];
const setTimer = globalThis.setTimeout;
globalThis.setTimeout = (callback, delay, ...rest) => {
  timers.push(delay);
  return setTimer(callback, delay, ...rest);
};

const refusals = [];
function note(status, header) {
  if (status !== 429) return;
  const names = ["retry-after", "retry-after-ms", "x-should-retry"];
  refusals.push(Object.fromEntries(names.map((name) => [name, header(name) ?? null])));
}

/** What makes one call, with the client's own settings for retries, and returns the last status. */
const clients = {
  async got() {
    const { default: got } = await import("got");
    const noted = (response) => note(response.statusCode, (name) => response.headers[name]);
    const noting = got.extend({ hooks: { beforeRetry: [(error) => noted(error.response)] } });
    return async () => {
      const response = await noting(base, { throwHttpErrors: true }).catch((error) => error.response);
      return response.statusCode;
    };
  },
  async openai() {
    const { default: OpenAI } = await import("openai");
    const noting = async (...request) => {
      const response = await fetch(...request);
      note(response.status, (name) => response.headers.get(name));
      return response;
    };
    const client = new OpenAI({ apiKey: "test", baseURL: base, fetch: noting });
    return async () => {
      const { response } = await client.models.retrieve("m").withResponse().catch((error) => ({ response: error }));
      return response.status;
    };
  },
};

const call = await clients[name]();
const statuses = [];
while (statuses.length < Number(count)) statuses.push(await call());
console.log(JSON.stringify({ statuses, refusals, timers }));
process.exit(0);
