// How many calls of our own passed, slice by slice, over the last two windows: constant memory at any rate.

/** Slices in a window. */
const SLICES = 64;
const RING = 4 * SLICES;

export class History {
  private readonly counts = new Float64Array(RING);
  private readonly slices = new Float64Array(RING).fill(-1);

  /** @param window ms */
  constructor(readonly window: number) {}

  /** Ms. */
  get slice(): number {
    return this.window / SLICES;
  }

  /** The slice that this moment is in. */
  at(now: number): number {
    return Math.floor(now / this.slice);
  }

  add(now: number, calls: number): void {
    const slice = this.at(now);
    const place = slice % RING;
    if (this.slices[place] !== slice) {
      this.slices[place] = slice;
      this.counts[place] = 0;
    }
    this.counts[place] = (this.counts[place] ?? 0) + calls;
  }

  /** Calls of the last window. */
  total(now: number): number {
    const last = this.at(now);
    let calls = 0;
    for (let slice = last - SLICES + 1; slice <= last; slice++) calls += this.count(slice);
    return calls;
  }

  /**
   * Calls per ms, one window before this slice.
   *
   * @param early slices to take the mean over: so many before
   * @param late and so many after
   */
  rate(slice: number, { early, late }: Spread): number {
    let calls = 0;
    for (let age = SLICES + 1 - early; age <= SLICES + 1 + late; age++) calls += this.count(slice - age);
    return calls / (early + 1 + late) / this.slice;
  }

  /** Calls whose window is over, but which `rate` has not repeated yet; less those that it repeated too soon. */
  owed(now: number, { early, late }: Spread): number {
    const slice = this.at(now);
    let calls = 0;
    for (let age = SLICES + 1 - early; age <= SLICES + 1 + late; age++) {
      const repeated = (age - (SLICES + 1 - early)) / (early + 1 + late);
      calls += this.count(slice - age) * (Number(age > SLICES) - repeated);
    }
    return calls;
  }

  /** Calls that `rate` has still to repeat, whether their window is over or not. */
  unrepeated(now: number, { early, late }: Spread): number {
    const slice = this.at(now);
    const into = now / this.slice - slice;
    let calls = 0;
    for (let age = 0; age <= SLICES + 1 + late; age++) {
      const repeated = (age - (SLICES + 1 - early) + into) / (early + 1 + late);
      calls += this.count(slice - age) * (1 - Math.max(0, repeated));
    }
    return calls;
  }

  /** The same calls, for a window of another length. */
  resized(window: number, now: number): History {
    const other = new History(window);
    const last = this.at(now);
    for (let slice = last - RING + 1; slice <= last; slice++) {
      // by the slice's end, lest they come back too early
      const time = Math.min(now, (slice + 1) * this.slice);
      if (time > now - 2 * window) other.add(time, this.count(slice));
    }
    return other;
  }

  private count(slice: number): number {
    const place = ((slice % RING) + RING) % RING;
    return this.slices[place] === slice ? (this.counts[place] ?? 0) : 0;
  }
}

/** Over how many slices a repetition is smeared. */
export interface Spread {
  early: number;
  late: number;
}

/** @param width part of a window. @param before part of the width */
export function spreadOf(width: number, before: number): Spread {
  const slices = Math.floor(width * SLICES);
  const early = Math.floor(slices * before);
  return { early, late: slices - early };
}
