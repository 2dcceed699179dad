// A gRPC service and a client with a usual retry policy, for the tests of clients that retry:
//
//   node grpc.js serve PORT
//   node grpc.js call PORT METHOD COUNT DEADLINE_MS     DEADLINE_MS is 0 for none
//
// The client makes COUNT calls, one after the other, and prints the status codes that its caller gets.
const grpc = require("@grpc/grpc-js");

const SERVICE = "/test.Clients/";
const asBytes = (bytes) => bytes;

function serve(port) {
  const method = (name) => ({
    path: SERVICE + name,
    requestStream: false,
    responseStream: false,
    requestSerialize: asBytes,
    requestDeserialize: asBytes,
    responseSerialize: asBytes,
    responseDeserialize: asBytes,
  });
  const answer = (call, callback) => callback(null, Buffer.alloc(0));
  const server = new grpc.Server();
  const methods = ["Window", "Slow", "Never"];
  server.addService(
    Object.fromEntries(methods.map((name) => [name, method(name)])),
    Object.fromEntries(methods.map((name) => [name, answer])),
  );
  server.bindAsync(`127.0.0.1:${port}`, grpc.ServerCredentials.createInsecure(), (error) => {
    if (error) throw error;
  });
}

const RETRY_POLICY = {
  maxAttempts: 5,
  initialBackoff: "0.1s",
  maxBackoff: "1s",
  backoffMultiplier: 2,
  retryableStatusCodes: ["RESOURCE_EXHAUSTED", "UNAVAILABLE"],
};

async function call(port, name, count, deadline) {
  const client = new grpc.Client(`127.0.0.1:${port}`, grpc.credentials.createInsecure(), {
    "grpc.service_config": JSON.stringify({ methodConfig: [{ name: [{}], retryPolicy: RETRY_POLICY }] }),
  });
  const once = () =>
    new Promise((resolve) => {
      const options = deadline > 0 ? { deadline: Date.now() + deadline } : {};
      const path = SERVICE + name;
      client.makeUnaryRequest(path, asBytes, asBytes, Buffer.alloc(0), new grpc.Metadata(), options, (error) =>
        resolve(error ? error.code : grpc.status.OK),
      );
    });
  const codes = [];
  while (codes.length < count) codes.push(await once());
  client.close();
  console.log(JSON.stringify({ codes }));
}

const [what, port, name, count, deadline] = process.argv.slice(2);
if (what === "serve") serve(Number(port));
else call(Number(port), name, Number(count), Number(deadline));
