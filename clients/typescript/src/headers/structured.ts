// Structured fields (RFC 9651): Lists and Dictionaries of Items with Parameters, which is all that RateLimit fields
// use. Strict, as the RFC asks: one mistake and the whole field is void.

export type BareItem =
  | { type: "integer" | "decimal" | "date"; value: number }
  | { type: "string" | "token" | "bytes" | "display"; value: string }
  | { type: "boolean"; value: boolean };

export interface Item {
  item: BareItem;
  params: Map<string, BareItem>;
}

/** The Items of a List, inner lists left out; `undefined` where the field does not parse. */
export function parseList(field: string): Item[] | undefined {
  return parsed(() => new Parser(field).list());
}

/** The members of a Dictionary, inner lists left out; `undefined` where the field does not parse. */
export function parseDictionary(field: string): Map<string, BareItem> | undefined {
  return parsed(() => new Parser(field).dictionary());
}

function parsed<T>(parse: () => T): T | undefined {
  try {
    return parse();
  } catch (error) {
    if (error instanceof Malformed) return undefined;
    throw error;
  }
}

class Malformed extends Error {}

const KEY = /[a-z*][a-z0-9_.*-]*/y;

class Parser {
  private at = 0;

  constructor(private readonly text: string) {}

  list(): Item[] {
    const items: Item[] = [];
    this.separated(() => {
      const item = this.member();
      if (item) items.push(item);
    });
    return items;
  }

  dictionary(): Map<string, BareItem> {
    const found = new Map<string, BareItem>();
    this.separated(() => {
      const key = this.expect(KEY);
      if (!this.take(/=/y)) {
        this.params();
        found.set(key, { type: "boolean", value: true });
        return;
      }
      const value = this.member();
      if (value) found.set(key, value.item);
    });
    return found;
  }

  /** Members with commas between them. */
  private separated(member: () => void): void {
    this.take(/ */y);
    while (this.at < this.text.length) {
      member();
      this.take(/[ \t]*/y);
      if (this.at === this.text.length) return;
      this.expect(/,[ \t]*/y);
      if (this.at === this.text.length) throw new Malformed(); // a trailing comma
    }
  }

  private member(): Item | undefined {
    return this.text[this.at] === "(" ? this.innerList() : this.item();
  }

  private item(): Item {
    return { item: this.bareItem(), params: this.params() };
  }

  private innerList(): undefined {
    this.expect(/\( */y);
    while (!this.take(/\)/y)) {
      this.item();
      if (!this.take(/ +/y) && this.text[this.at] !== ")") throw new Malformed();
    }
    this.params();
  }

  private params(): Map<string, BareItem> {
    const params = new Map<string, BareItem>();
    while (this.take(/; */y)) {
      const key = this.expect(KEY);
      params.set(key, this.take(/=/y) ? this.bareItem() : { type: "boolean", value: true });
    }
    return params;
  }

  private bareItem(): BareItem {
    const first = this.text[this.at] ?? "";
    if (/[-0-9]/.test(first)) return this.number();
    if (first === '"') {
      const quoted = this.expect(/"(?:[ !#-[\]-~]|\\["\\])*"/y);
      return { type: "string", value: quoted.slice(1, -1).replace(/\\(.)/g, "$1") };
    }
    if (first === ":") return { type: "bytes", value: this.expect(/:[A-Za-z0-9+/]*={0,2}:/y).slice(1, -1) };
    if (first === "?") return { type: "boolean", value: this.expect(/\?[01]/y) === "?1" };
    if (first === "@") {
      this.at++;
      const date = this.number();
      if (date.type !== "integer") throw new Malformed();
      return { type: "date", value: date.value };
    }
    if (first === "%") return { type: "display", value: this.display() };
    return { type: "token", value: this.expect(/[A-Za-z*][!#$%&'*+.^_`|~0-9A-Za-z:/-]*/y) };
  }

  private number(): { type: "integer" | "decimal"; value: number } {
    const text = this.expect(/-?[0-9]+(?:\.[0-9]*)?/y);
    const [whole = "", fraction] = text.replace("-", "").split(".");
    if (fraction === undefined) {
      if (whole.length > 15) throw new Malformed();
      return { type: "integer", value: Number(text) };
    }
    if (whole.length > 12 || fraction.length < 1 || fraction.length > 3) throw new Malformed();
    return { type: "decimal", value: Number(text) };
  }

  private display(): string {
    const quoted = this.expect(/%"(?:[ !#$&-~]|%[0-9a-f]{2})*"/y);
    try {
      return decodeURIComponent(quoted.slice(2, -1));
    } catch {
      throw new Malformed(); // not UTF-8
    }
  }

  /** What the sticky pattern matches here, and moves on; "" where it does not. */
  private take(pattern: RegExp): string {
    pattern.lastIndex = this.at;
    const found = pattern.exec(this.text)?.[0] ?? "";
    this.at += found.length;
    return found;
  }

  private expect(pattern: RegExp): string {
    const found = this.take(pattern);
    if (found === "") throw new Malformed();
    return found;
  }
}
