// Holds a route back after a refusal that came without numbers (a hidden limit, a 503): until Retry-After, then one
// call, two, four, and free again. Without the slow start, all waiting calls would be sent at once.

/** From this number of calls in flight on there is no bound. */
const FREE = 64;

export class Gate {
  private hold = -Infinity;
  private allowed = Infinity;
  private underWay = 0;

  /** Calls without an answer yet. */
  get inFlight(): number {
    return this.underWay;
  }

  get heldUntil(): number {
    return this.hold;
  }

  /** Ms until a call may go; Infinity where an answer must come first. */
  wait(now: number): number {
    if (now < this.hold) return this.hold - now;
    return this.underWay < this.allowed ? 0 : Infinity;
  }

  sent(): void {
    this.underWay += 1;
  }

  /** The call ended: without an answer, or with a refusal that a policy answers for. */
  ended(): void {
    this.underWay -= 1;
  }

  passed(): void {
    this.underWay -= 1;
    this.allowed = this.allowed >= FREE ? Infinity : this.allowed * 2;
  }

  denied(until: number): void {
    this.underWay -= 1;
    this.close(until);
  }

  /** A call that was not counted here was refused all the same. */
  close(until: number): void {
    this.allowed = 1;
    this.hold = Math.max(this.hold, until);
  }
}
