// The events for the page: DOM events on one EventTarget.

export interface RateLimitDetail {
  /** Of the call that brought the news. */
  url: string;
  origin: string;
  /** Milliseconds until the call goes on (`limited`, `retrying`) or a probe may (`circuit-open`); else 0. */
  delay: number;
  /** What the server last said is left, and of how many; of the tightest policy. */
  remaining?: number | undefined;
  limit?: number | undefined;
  policy?: string | undefined;
}

export interface LimitedDetail extends RateLimitDetail {
  /** `denied`: the server refused the call. `paced`: it is held back for a second or more, so as not to be refused. */
  reason: "denied" | "paced";
  /** 429, 503 or 403 where the server refused. */
  status?: number | undefined;
}

export interface RetryingDetail extends RateLimitDetail {
  /** 1 for the first retry. */
  attempt: number;
}

export interface RecoveredDetail extends RateLimitDetail {
  /** A call has passed. False: the wait is over, but there was no call since. */
  confirmed: boolean;
}

export interface RateLimitEventMap {
  limited: CustomEvent<LimitedDetail>;
  retrying: CustomEvent<RetryingDetail>;
  recovered: CustomEvent<RecoveredDetail>;
  "circuit-open": CustomEvent<RateLimitDetail>;
}

export type RateLimitEvent = {
  [Type in keyof RateLimitEventMap]: RateLimitEventMap[Type] & { readonly type: Type };
}[keyof RateLimitEventMap];

type Listener<Type extends keyof RateLimitEventMap> =
  | ((event: RateLimitEventMap[Type]) => void)
  | { handleEvent(event: RateLimitEventMap[Type]): void };

/** An EventTarget that knows its events' types. */
export interface RateLimitEvents extends EventTarget {
  addEventListener<Type extends keyof RateLimitEventMap>(
    type: Type,
    listener: Listener<Type> | null,
    options?: Parameters<EventTarget["addEventListener"]>[2],
  ): void;
  removeEventListener<Type extends keyof RateLimitEventMap>(
    type: Type,
    listener: Listener<Type> | null,
    options?: Parameters<EventTarget["removeEventListener"]>[2],
  ): void;
}

export const EVENT_TYPES = ["limited", "retrying", "recovered", "circuit-open"] as const;

export type Emit = <Type extends keyof RateLimitEventMap>(
  type: Type,
  detail: RateLimitEventMap[Type]["detail"],
) => void;

export function emitter(target: EventTarget, onEvent?: (event: RateLimitEvent) => void): Emit {
  if (onEvent) {
    for (const type of EVENT_TYPES) target.addEventListener(type, (event) => onEvent(event as RateLimitEvent));
  }
  return (type, detail) => void target.dispatchEvent(new CustomEvent(type, { detail }));
}
