// An Express application for the tests against real servers: node express.js PORT
//
// Each answer names the handler that ran, and what it read: the method, the API key and the session's cookie.
const cookie = require("cookie");
const express = require("express");

const handler = (name, status = 200) => (request, response) => {
  const read = {
    "x-method": request.method,
    "x-read-key": request.get("x-api-key"),
    "x-read-sid": cookie.parse(request.get("cookie") ?? "").sid,
  };
  for (const [header, value] of Object.entries(read)) {
    if (value !== undefined) response.set(header, encodeURIComponent(value));
  }
  response.set("x-handler", name).status(status).send(`handler=${name}`);
};

const app = express();
app.all("/api/login", handler("login"));
app.all("/users/:id", handler("user"));
app.use("/static", handler("static"));
app.use("/mount", handler("mount"));
app.use(handler("none", 404));
app.listen(Number(process.argv[2]), "127.0.0.1");
