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

/** Calls of one route are taken to meet the same limits. */
export function routeOf(method: string, url: URL): string {
  return `${method} ${url.pathname}`;
}

/** `undefined` for what no limit is about: `data:` and `blob:`, or a URL that fetch itself will refuse. */
export function callOf(input: string | URL | Request, init: RequestInit | undefined): Call | undefined {
  const request = isRequest(input) ? input : undefined;
  const url = resolveUrl(request ? request.url : String(input));
  if (!url) return undefined;
  return {
    url,
    method: (init?.method ?? request?.method ?? "GET").toUpperCase(),
    signal: init?.signal ?? request?.signal ?? undefined,
    replayable: !isStream(init?.body) && !request?.bodyUsed,
    // A clone, so that the Request's own body, whatever it was made of, stays for the next time.
    send: (fetch) => fetch(request && !request.bodyUsed ? request.clone() : input, init),
    request: () => asRequest(request, input, init),
  };
}

/** Known by its shape: undici has a Request of its own, as have other realms and other libraries. */
function isRequest(input: unknown): input is Request {
  if (typeof input !== "object" || input === null) return false;
  const { url, method, clone } = input as Partial<Request>;
  return typeof url === "string" && typeof method === "string" && typeof clone === "function";
}

/** The global Request takes none of another library. It is for a cache of GETs: there is no body to copy. */
function asRequest(request: Request | undefined, input: string | URL | Request, init: RequestInit | undefined): Request {
  if (!request) return new Request(input, init);
  const { url, method, headers, bodyUsed } = request;
  if (request instanceof Request) return new Request(bodyUsed ? request : request.clone(), init);
  return new Request(new Request(url, { method, headers: [...headers] }), init);
}

/** An absolute http or https URL. */
export function resolveUrl(text: string): URL | undefined {
  try {
    const url = new URL(text, (globalThis as { location?: { href: string } }).location?.href);
    return /^https?:$/.test(url.protocol) ? url : undefined;
  } catch {
    return undefined;
  }
}

function isStream(body: unknown): boolean {
  if (typeof body !== "object" || body === null) return false;
  if (typeof (body as Partial<ReadableStream>).getReader === "function") return true;
  // Node also takes async iterables. Its Blob and FormData are none.
  return Symbol.asyncIterator in body;
}
