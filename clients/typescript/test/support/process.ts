// Child processes that end with the tests, also with those that fail, and ports for them.

import { spawn, type ChildProcess, type SpawnOptions } from "node:child_process";
import { createServer } from "node:net";

const running = new Set<ChildProcess>();

process.on("exit", () => {
  for (const child of running) child.kill("SIGKILL");
});
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.on(signal, () => process.exit(1));

export function start(command: string, args: string[], options: SpawnOptions = {}): ChildProcess {
  const child = spawn(command, args, { stdio: "ignore", ...options });
  running.add(child);
  child.on("exit", () => running.delete(child));
  child.on("error", () => running.delete(child)); // not there, or not to be run; `until` will tell
  return child;
}

export async function stop(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const ended = new Promise((resolve) => child.once("exit", resolve));
  child.kill("SIGTERM");
  const patience = setTimeout(() => child.kill("SIGKILL"), 3_000);
  await ended;
  clearTimeout(patience);
}

export async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as { port: number };
  await new Promise((resolve) => server.close(resolve));
  return port;
}

/** @throws Error with what `say` says, when it is not true within the time (ms), or the child has ended */
export async function until(is: () => Promise<boolean>, say: () => string, child: ChildProcess, time = 20_000) {
  const deadline = Date.now() + time;
  while (!(await is().catch(() => false))) {
    if (child.exitCode !== null || Date.now() > deadline || child.pid === undefined) throw new Error(say());
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}
