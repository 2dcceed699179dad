// Which policies hold for which calls of an origin, learnt from answers. A route is a method and a path; a new one is
// taken to meet the policies that most routes meet, so that a login's tight limit holds back nothing else.

import { Gate } from "./gate.js";
import { Pace } from "./pace.js";

/** Bounds memory where paths carry ids. */
const MAX_ROUTES = 256;
/** X-RateLimit headers give every limit a policy of its own, also when an operator changes it. */
const MAX_POLICIES = 8;

export interface Route {
  readonly gate: Gate;
  /** Names of the policies in its answers, oldest first. */
  readonly policies: Set<string>;
}

export class Routes {
  private readonly routes = new Map<string, Route>();
  private readonly paces = new Map<string, Pace>();

  /** @param below see `Pace` */
  constructor(private readonly below: number) {}

  route(name: string): Route {
    const known = this.routes.get(name);
    this.routes.delete(name); // to the end: the map's order is that of use
    const route = known ?? { gate: new Gate(), policies: new Set<string>() };
    this.routes.set(name, route);
    if (this.routes.size > MAX_ROUTES) {
      const [oldest] = this.routes.keys();
      if (oldest !== undefined) this.routes.delete(oldest);
    }
    return route;
  }

  /** The policies' paces that a call of this route must wait for. */
  pacesOf(route: Route): Pace[] {
    const names = route.policies.size > 0 ? route.policies : this.usual();
    return [...names].flatMap((name) => this.paces.get(name) ?? []);
  }

  /** The pace of a policy in an answer on this route. */
  learn(route: Route, policy: string): Pace {
    const pace = this.paces.get(policy) ?? new Pace(this.below);
    this.paces.set(policy, pace);
    route.policies.add(policy);
    if (route.policies.size > MAX_POLICIES) {
      const [oldest] = route.policies;
      if (oldest !== undefined) route.policies.delete(oldest);
    }
    if (this.paces.size > MAX_ROUTES) this.forget();
    return pace;
  }

  /** Calls in flight on the routes of this policy. */
  inFlight(policy: string): number {
    let calls = 0;
    for (const route of this.routes.values()) if (route.policies.has(policy)) calls += route.gate.inFlight;
    return calls;
  }

  heldUntil(): number {
    let until = -Infinity;
    for (const { gate } of this.routes.values()) until = Math.max(until, gate.heldUntil);
    for (const pace of this.paces.values()) until = Math.max(until, pace.heldUntil);
    return until;
  }

  private usual(): string[] {
    const counts = new Map<string, number>();
    let informed = 0;
    for (const { policies } of this.routes.values()) {
      if (policies.size > 0) informed += 1;
      for (const policy of policies) counts.set(policy, (counts.get(policy) ?? 0) + 1);
    }
    return [...counts].filter(([, routes]) => routes * 2 >= informed).map(([policy]) => policy);
  }

  /** Drops the paces of policies that no route meets any more. */
  private forget(): void {
    const met = new Set([...this.routes.values()].flatMap(({ policies }) => [...policies]));
    for (const name of this.paces.keys()) if (!met.has(name)) this.paces.delete(name);
  }
}
