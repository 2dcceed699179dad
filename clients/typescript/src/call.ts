// One call as the caller made it: where it goes, and whether it can be sent again.

export interface Call {
  readonly url: URL;
  readonly method: string;
  readonly signal: AbortSignal | undefined;
  /** Whether the body can be sent again. A stream is gone once it was read. */
  readonly replayable: boolean;
  send(fetch: typeof globalThis.fetch): Promise<Response>;
  /** For a cache. */
  request(): Request;
}

/** RFC 9110, section 9.2.2: sent twice, these do what they do when sent once. */
const IDEMPOTENT = new Set(["GET", "HEAD", "OPTIONS", "PUT", "DELETE", "TRACE"]);

export function isIdempotent(method: string): boolean {
  return IDEMPOTENT.has(method);
}

/** `undefined` for what no limit is about: `data:` and `blob:`, or a URL that fetch itself will refuse. */
export function callOf(input: string | URL | Request, init: RequestInit | undefined): Call | undefined {
  const request = input instanceof Request ? input : undefined;
  const url = resolveUrl(request ? request.url : String(input));
  if (!url) return undefined;
  return {
    url,
    method: (init?.method ?? request?.method ?? "GET").toUpperCase(),
    signal: init?.signal ?? request?.signal ?? undefined,
    replayable: !isStream(init?.body) && !request?.bodyUsed,
    // A clone, so that the Request's own body, whatever it was made of, stays for the next time.
    send: (fetch) => fetch(request && !request.bodyUsed ? request.clone() : input, init),
    request: () => new Request(request && !request.bodyUsed ? request.clone() : input, init),
  };
}

function resolveUrl(text: string): URL | undefined {
  try {
    const url = new URL(text, (globalThis as { location?: { href: string } }).location?.href);
    return /^https?:$/.test(url.protocol) ? url : undefined;
  } catch {
    return undefined;
  }
}

function isStream(body: unknown): boolean {
  if (typeof body !== "object" || body === null) return false;
  if (typeof ReadableStream !== "undefined" && body instanceof ReadableStream) return true;
  // Node also takes async iterables. Its Blob and FormData are none.
  return Symbol.asyncIterator in body;
}
