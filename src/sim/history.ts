/**
 * What clients saw: operations on keys, when they were asked and answered, and how they ended.
 *
 * Positions are places in one total order of invocations and returns (an event number, not a time: two events
 * never share one). An operation without a return has `returned` Infinity.
 *
 *     ok            took effect once, somewhere between invocation and return, with this result
 *     not_executed  the system said so: it must never show
 *     unknown       may have taken effect at any moment after the invocation, or may yet, or never
 */

/** What a key holds; null = absent. Numbers as decimal text. */
export type Value = string | null;

export type RegisterOp =
  | { readonly kind: "get" }
  /** `ttlMs`: by then it goes by itself, unless it was replaced. */
  | { readonly kind: "set"; readonly value: string; readonly ttlMs?: number }
  | { readonly kind: "del" }
  | { readonly kind: "cas"; readonly expected: Value; readonly value: string }
  | { readonly kind: "incr"; readonly delta: number };

/** get: the value; set: true; del, cas: whether it did something; incr: the sum, or "error" if not a number. */
export type Result = Value | boolean | number;

export type HistoryOp = {
  readonly key: string;
  /** Who asked. */
  readonly client: number;
  /**
   * The client's connection, so to speak: operations of one stream on one key take effect in the order of their
   * invocations. After an unknown outcome a client goes on in a new stream, as the old operation may come late.
   */
  readonly stream: number;
  readonly op: RegisterOp;
  readonly invoked: number;
  readonly returned: number;
  readonly outcome: "ok" | "not_executed" | "unknown";
  /** Of an operation that is ok. */
  readonly result: Result;
};

/** The sequential register: the value after `op`, and what it answers. */
export function step(value: Value, op: RegisterOp): { value: Value; result: Result } {
  switch (op.kind) {
    case "get":
      return { value, result: value };
    case "set":
      return { value: op.value, result: true };
    case "del":
      return { value: null, result: value !== null };
    case "cas":
      return value === op.expected ? { value: op.value, result: true } : { value, result: false };
    case "incr": {
      if (value !== null && !/^-?\d+$/.test(value)) return { value, result: "error" };
      const sum = Number(value ?? "0") + op.delta;
      return { value: String(sum), result: sum };
    }
  }
}

export function describeOp({ client, op, invoked, returned, outcome, result }: HistoryOp): string {
  const span = `[${invoked}, ${returned === Infinity ? "..." : returned}]`;
  const ended = outcome === "ok" ? `-> ${brief(JSON.stringify(result))}` : `-> ${outcome}`;
  return `${span} client ${client}: ${describeRegisterOp(op)} ${ended}`;
}

export function describeRegisterOp(op: RegisterOp): string {
  switch (op.kind) {
    case "get":
    case "del":
      return op.kind;
    case "set":
      return `set ${brief(op.value)}${op.ttlMs === undefined ? "" : ` for ${op.ttlMs} ms`}`;
    case "cas":
      return `cas ${brief(op.expected ?? "nil")} -> ${brief(op.value)}`;
    case "incr":
      return `incr ${op.delta}`;
  }
}

/** The beginning of a value is what tells it from others. */
function brief(text: string): string {
  return text.length > 24 ? `${text.slice(0, 22)}..` : text;
}

/** Writes a history down as it happens. */
export class History {
  readonly ops: HistoryOp[] = [];
  #position = 0;
  #open = new Map<number, Pick<HistoryOp, "key" | "client" | "stream" | "op" | "invoked">>();
  #ids = 0;
  #streams = new Map<number, number>();
  #streamCount = 0;

  /**
   * An operation was asked; gives the number to report its end with. `ordered`: it keeps its place among the
   * client's other ordered operations.
   */
  invoke(client: number, key: string, op: RegisterOp, ordered = true): number {
    const id = this.#ids++;
    if (!ordered) {
      this.#open.set(id, { key, client, stream: this.#streamCount++, op, invoked: this.#position++ });
      return id;
    }
    let stream = this.#streams.get(client);
    if (stream === undefined) {
      stream = this.#streamCount++;
      this.#streams.set(client, stream);
    }
    this.#open.set(id, { key, client, stream, op, invoked: this.#position++ });
    return id;
  }

  complete(id: number, outcome: HistoryOp["outcome"], result: Result = null): void {
    const open = this.#open.get(id);
    if (open === undefined) return; // answered before, or given up
    this.#open.delete(id);
    const returned = outcome === "unknown" ? Infinity : this.#position++;
    this.ops.push({ ...open, returned, outcome, result });
    if (outcome === "unknown" && this.#streams.get(open.client) === open.stream)
      this.#streams.delete(open.client);
  }

  /** Now, among invocations and returns. */
  get position(): number {
    return this.#position;
  }

  get openCount(): number {
    return this.#open.size;
  }

  okCount(): number {
    return this.ops.reduce((count, { outcome }) => count + (outcome === "ok" ? 1 : 0), 0);
  }

  /** The run is over: whatever was not answered is unknown. */
  finish(): readonly HistoryOp[] {
    for (const id of [...this.#open.keys()]) this.complete(id, "unknown");
    return this.ops;
  }
}
