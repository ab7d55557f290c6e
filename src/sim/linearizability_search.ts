/**
 * The search for an order of one key's operations that explains every answer.
 *
 * Invocations and returns stand in one doubly linked list. At any point the operations that may come next are
 * those whose invocation stands before the first return left in the list; taking one lifts it out, and if no
 * candidate leads on, the last one taken is put back. Four things keep the search small: a memo of (operations
 * taken, value) that led nowhere; answered operations are tried before unknown ones; an unknown operation is
 * taken only if what follows can tell the difference (a set right after it would hide it, and leaving it out
 * altogether gives the same value with one more choice left); and a value that somebody still has to see is not
 * overwritten when nothing is left that could bring it back.
 */
import { present } from "../base/assert.ts";
import { Prng } from "../base/prng.ts";
import { describeOp, type HistoryOp, step, type Value } from "./history.ts";

type Node = {
  /** Index into the operations. */
  readonly index: number;
  readonly isCall: boolean;
  before: Node | null;
  after: Node | null;
  /** Of a call: its return; null for an unknown operation. */
  readonly match: Node | null;
};

type Taken = {
  readonly node: Node;
  readonly value: Value;
  /** What the stream's newest operation was before. */
  readonly newest: number;
  readonly wasUnknown: boolean;
};

type Known = { readonly bits: Uint32Array; readonly value: Value };

export class Search {
  steps = 0;
  readonly #ops: readonly HistoryOp[];
  readonly #stepsMax: number;
  readonly #head: Node = { index: -1, isCall: false, before: null, after: null, match: null };
  #value: Value = null;
  #taken: Taken[] = [];
  #bits: Uint32Array;
  #hash = 0;
  #marks: Uint32Array;
  #memo = new Map<number, Known[]>();
  /** Answered operations still to be explained. */
  #left: number;
  /** Per stream: index of its newest operation taken; later ones hide those before. */
  #newest = new Map<number, number>();
  /** Per operation: the answered one before it in its stream; -1 = none. */
  #previous: Int32Array;
  #lastUnknown = false;
  readonly #demand: Demand;
  #deepest: { left: number; value: Value; waiting: HistoryOp[]; order: HistoryOp[] } | null = null;

  /** `ops` in order of invocation. */
  constructor(ops: readonly HistoryOp[], stepsMax: number) {
    this.#ops = ops;
    this.#stepsMax = stepsMax;
    this.#bits = new Uint32Array(Math.ceil(ops.length / 32));
    this.#marks = new Uint32Array(ops.length);
    const random = Prng.fromSeed(ops.length);
    for (let i = 0; i < ops.length; i++) this.#marks[i] = random.u32();
    this.#left = ops.filter(({ outcome }) => outcome === "ok").length;
    this.#previous = previousAnswered(ops);
    this.#demand = new Demand(ops);
    this.#link();
  }

  /** True: there is such an order. */
  run(): boolean | "undecided" {
    let node = this.#head.after;
    let unknownPass = false;
    while (this.#left > 0) {
      if (++this.steps > this.#stepsMax) return "undecided";
      if (node === null || !node.isCall) {
        if (!unknownPass) {
          unknownPass = true;
          node = this.#head.after;
          continue;
        }
        this.#rememberDeepest();
        const undone = this.#undo();
        if (undone === null) return false;
        unknownPass = this.#op(undone).outcome === "unknown";
        node = undone.after;
        continue;
      }
      const isUnknown = this.#op(node).outcome === "unknown";
      if (isUnknown === unknownPass && this.#take(node)) {
        node = this.#head.after;
        unknownPass = false;
      } else {
        node = node.after;
      }
    }
    return true;
  }

  /** The longest explanation found, and what could not follow it. */
  explain(): string {
    const deepest = this.#deepest;
    if (deepest === null) return "  (nothing to explain)";
    const order = deepest.order.slice(-8).map((op) => `    ${describeOp(op)}`);
    const waiting = deepest.waiting.map((op) => `    ${describeOp(op)}`);
    const holds = deepest.value === null ? "is absent" : `holds ${deepest.value}`;
    return [
      `  explained up to here (last ${order.length}):`,
      ...order,
      `  now the key ${holds}, and none of these can follow:`,
      ...waiting,
    ].join("\n");
  }

  #op(node: Node): HistoryOp {
    return present(this.#ops[node.index], "a node names an operation");
  }

  #link(): void {
    const nodes: { position: number; node: Node }[] = [];
    this.#ops.forEach((op, index) => {
      let match: Node | null = null;
      if (op.outcome === "ok") {
        match = { index, isCall: false, before: null, after: null, match: null };
        nodes.push({ position: op.returned, node: match });
      }
      nodes.push({ position: op.invoked, node: { index, isCall: true, before: null, after: null, match } });
    });
    nodes.sort((a, b) => a.position - b.position);
    let last = this.#head;
    for (const { node } of nodes) {
      last.after = node;
      node.before = last;
      last = node;
    }
  }

  #take(node: Node): boolean {
    const op = this.#op(node);
    if (!this.#inOrder(node.index, op)) return false;
    const isUnknown = op.outcome === "unknown";
    if (this.#lastUnknown && hides(op)) return false;
    const { value, result } = step(this.#value, op.op);
    if (!isUnknown && result !== op.result) return false;
    if (isUnknown && value === this.#value) return false; // taking it would change nothing
    this.#toggle(node.index);
    this.#demand.take(op, 1);
    if ((value !== this.#value && this.#demand.missing(this.#value)) || !this.#remember(value)) {
      this.#toggle(node.index);
      this.#demand.take(op, -1);
      return false;
    }
    const newest = this.#newest.get(op.stream) ?? -1;
    this.#taken.push({ node, value: this.#value, newest, wasUnknown: this.#lastUnknown });
    this.#newest.set(op.stream, Math.max(newest, node.index));
    this.#lastUnknown = isUnknown;
    this.#value = value;
    if (!isUnknown) this.#left--;
    lift(node);
    return true;
  }

  #undo(): Node | null {
    const taken = this.#taken.pop();
    if (taken === undefined) return null;
    const { node } = taken;
    const op = this.#op(node);
    putBack(node);
    this.#toggle(node.index);
    this.#demand.take(op, -1);
    this.#value = taken.value;
    this.#lastUnknown = taken.wasUnknown;
    this.#newest.set(op.stream, taken.newest);
    if (op.outcome === "ok") this.#left++;
    return node;
  }

  /** A stream's operations take effect in the order in which they were asked. */
  #inOrder(index: number, op: HistoryOp): boolean {
    if ((this.#newest.get(op.stream) ?? -1) > index) return false;
    const previous = this.#previous[index] as number;
    return previous < 0 || this.#has(previous);
  }

  #has(index: number): boolean {
    return ((this.#bits[index >>> 5] as number) & (1 << (index & 31))) !== 0;
  }

  #toggle(index: number): void {
    this.#bits[index >>> 5] = (this.#bits[index >>> 5] as number) ^ (1 << (index & 31));
    this.#hash ^= this.#marks[index] as number;
  }

  /** False if these operations with this value were tried before. */
  #remember(value: Value): boolean {
    const known = this.#memo.get(this.#hash);
    if (known === undefined) {
      this.#memo.set(this.#hash, [{ bits: this.#bits.slice(), value }]);
      return true;
    }
    for (const one of known) if (one.value === value && equal(one.bits, this.#bits)) return false;
    known.push({ bits: this.#bits.slice(), value });
    return true;
  }

  #rememberDeepest(): void {
    if (this.#deepest !== null && this.#deepest.left <= this.#left) return;
    const waiting: HistoryOp[] = [];
    for (let node = this.#head.after; node?.isCall === true; node = node.after) waiting.push(this.#op(node));
    const order = this.#taken.map(({ node }) => this.#op(node));
    this.#deepest = { left: this.#left, value: this.#value, waiting, order };
  }
}

/** Of the operations not yet taken: how many must find each value, and how many could leave it. */
class Demand {
  #seekers = new Map<Value, number>();
  #makers = new Map<Value, number>();
  /** Unknown increments could leave any number. */
  #wildcards = 0;

  constructor(ops: readonly HistoryOp[]) {
    for (const op of ops) this.take(op, -1);
  }

  take(op: HistoryOp, count: 1 | -1): void {
    const sought = seeks(op);
    if (sought !== undefined) this.#seekers.set(sought, (this.#seekers.get(sought) ?? 0) - count);
    const made = makes(op);
    if (made === "anything") this.#wildcards -= count;
    else if (made !== undefined) this.#makers.set(made.value, (this.#makers.get(made.value) ?? 0) - count);
  }

  /** True if `value` must be found again and cannot be. */
  missing(value: Value): boolean {
    return (
      (this.#seekers.get(value) ?? 0) > 0 && (this.#makers.get(value) ?? 0) === 0 && this.#wildcards === 0
    );
  }
}

/** The value that an answered operation must find; undefined if several would do. */
function seeks({ op, outcome, result }: HistoryOp): Value | undefined {
  if (outcome !== "ok") return undefined;
  if (op.kind === "get") return result as Value;
  if (op.kind === "cas" && result === true) return op.expected;
  return op.kind === "del" && result === false ? null : undefined;
}

/** The value that an operation may leave. */
function makes({ op, outcome, result }: HistoryOp): { value: Value } | "anything" | undefined {
  if (op.kind === "set") return op;
  if (op.kind === "cas") return outcome === "ok" && result === false ? undefined : op;
  if (op.kind === "del") return { value: null };
  if (op.kind === "get") return undefined;
  return outcome === "ok" ? { value: String(result) } : "anything";
}

/** Whatever was there before, nobody can tell afterwards. */
function hides({ op, outcome }: HistoryOp): boolean {
  return op.kind === "set" || (op.kind === "del" && outcome === "unknown");
}

function previousAnswered(ops: readonly HistoryOp[]): Int32Array {
  const previous = new Int32Array(ops.length).fill(-1);
  const last = new Map<number, number>();
  ops.forEach(({ stream, outcome }, i) => {
    previous[i] = last.get(stream) ?? -1;
    if (outcome === "ok") last.set(stream, i);
  });
  return previous;
}

function lift(node: Node): void {
  unlink(node);
  if (node.match !== null) unlink(node.match);
}

function putBack(node: Node): void {
  if (node.match !== null) relink(node.match);
  relink(node);
}

function unlink(node: Node): void {
  if (node.before !== null) node.before.after = node.after;
  if (node.after !== null) node.after.before = node.before;
}

function relink(node: Node): void {
  if (node.before !== null) node.before.after = node;
  if (node.after !== null) node.after.before = node;
}

function equal(a: Uint32Array, b: Uint32Array): boolean {
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return false;
  return true;
}
