// Which policies hold for which calls of an origin, learnt from answers. A route is a method and a path; a new one is
// taken to meet the policies that most routes meet, so that a login's tight limit holds back nothing else.

import { Cost } from "./cost.js";
import { Gate } from "./gate.js";
import { Identity, type Assignment } from "./identity.js";
import { Pace } from "./pace.js";
import type { Quota, Reading } from "../headers/quota.js";

/** Bounds memory where paths carry ids. */
const MAX_ROUTES = 256;
/** X-RateLimit headers give every limit a policy of its own, also when an operator changes it. */
const MAX_POLICIES = 8;

export interface Route {
  readonly gate: Gate;
  /** Names of the policies in its answers, oldest first. */
  readonly policies: Set<string>;
  /** By policies that the server does not name. */
  readonly assignments: Map<string, Assignment>;
}

/** News of a quota, and the pace that it is for. */
export type News = [Quota, Pace];

export class Routes {
  private readonly routes = new Map<string, Route>();
  private readonly paces = new Map<string, Pace>();
  private readonly costs = new Map<string, Cost>();
  private readonly identity = new Identity();

  /** @param below see `Pace` */
  constructor(private readonly below: number) {}

  /** Routes, policies and counters that are remembered. */
  get size(): number {
    return this.routes.size + this.paces.size + this.costs.size + this.identity.size;
  }

  route(name: string): Route {
    const known = this.routes.get(name);
    this.routes.delete(name); // to the end: the map's order is that of use
    const route = known ?? { gate: new Gate(), policies: new Set<string>(), assignments: new Map<string, Assignment>() };
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

  /** Whether a route without an answer is assumed not to have this policy. */
  isUnusual(policy: string): boolean {
    return !this.usual().includes(policy);
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

  /** A quota in calls, under the name of its counter. */
  inCalls({ quota, units }: Reading, policy: string): Quota {
    const named = { ...quota, policy };
    if (!units) return named;
    const cost = this.costs.get(policy) ?? new Cost();
    this.costs.set(policy, cost);
    return cost.inCalls(named);
  }

  /** The counter that a reading is about: the policy's name, unless several look the same. */
  counter(route: Route, { quota, named }: Reading, sentAt: number, now: number, refused: boolean): string {
    if (named) return quota.policy;
    const before = route.assignments.get(quota.policy);
    const routes = (name: string) => this.meeting(name).length;
    const alone = (name: string) => this.paces.get(name)?.alone ?? false;
    const inFlight = [...this.routes.values()].reduce((calls, { gate }) => calls + gate.inFlight, 0);
    const assignment = this.identity.assign({ quota, sentAt, now, refused, routes, alone, inFlight }, before);
    if (before && before.counter !== assignment.counter) route.policies.delete(before.counter);
    route.assignments.delete(quota.policy);
    route.assignments.set(quota.policy, assignment);
    const [oldest] = route.assignments.keys();
    if (route.assignments.size > MAX_POLICIES && oldest !== undefined) route.assignments.delete(oldest);
    return assignment.counter;
  }

  /** Calls in flight on the routes of this policy. */
  inFlight(policy: string): number {
    return this.meeting(policy).reduce((calls, { gate }) => calls + gate.inFlight, 0);
  }

  /** Until when the server has forbidden calls of some route or policy. */
  get heldUntil(): number {
    let until = -Infinity;
    for (const { gate } of this.routes.values()) until = Math.max(until, gate.heldUntil);
    for (const pace of this.paces.values()) until = Math.max(until, pace.heldUntil);
    return until;
  }

  private meeting(policy: string): Route[] {
    return [...this.routes.values()].filter(({ policies }) => policies.has(policy));
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

  /** Drops what is kept of policies that no route meets any more. */
  private forget(): void {
    const routes = [...this.routes.values()];
    const met = new Set(routes.flatMap(({ policies }) => [...policies]));
    for (const kept of [this.paces, this.costs]) for (const name of kept.keys()) if (!met.has(name)) kept.delete(name);
    const read = new Set(routes.flatMap(({ assignments }) => [...assignments.keys()]));
    this.identity.forgetOthers(read);
  }
}
