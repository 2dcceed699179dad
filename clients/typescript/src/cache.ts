// Stale answers for when limits persist: the hook, and an adapter over the Cache API.

export interface StaleCache {
  /** The last good answer to this request, if it is kept. */
  match(request: Request): Promise<Response | undefined>;
  /** A good answer to a GET; its body is this method's to read. */
  put(request: Request, response: Response): Promise<void>;
}

/** Marks answers that came from the cache; see `isStale`. */
const STALE_HEADER = "x-ratelimit-stale";

/** Whether an answer is an old one, given because the server's limits persist. */
export function isStale(response: Response): boolean {
  return response.headers.get(STALE_HEADER) === "true";
}

/**
 * Keeps answers in the browser's Cache API.
 *
 * @param name the cache's. Entries go by URL (and Vary): give every user of the page one of their own, and delete it
 *   when they sign out (`caches.delete(name)`).
 */
export function cacheApi(name = "ratelimit-fetch"): StaleCache {
  return {
    match: async (request) => (await caches.open(name)).match(request),
    put: async (request, response) => (await caches.open(name)).put(request, response),
  };
}

/** Whether an answer is fit to be kept. */
export function storable(method: string, response: Response): boolean {
  const control = response.headers.get("cache-control") ?? "";
  return method === "GET" && response.status === 200 && !/\bno-store\b/i.test(control);
}

/** The kept answer, marked as stale. */
export function marked(response: Response): Response {
  const headers = new Headers(response.headers);
  headers.set(STALE_HEADER, "true");
  const { status, statusText } = response;
  return new Response(response.body, { status, statusText, headers });
}
