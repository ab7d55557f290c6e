/**
 * A key with one writer, which has one command for it under way at a time. So it is known what the key may hold: what was
 * acknowledged last, or what a command of unknown outcome may have made of it, or may yet. What was deleted stays deleted.
 */
import type { Caller } from "./callers.ts";

export class OwnKey {
  readonly name: string;
  #acked: string | null = null;
  /** Of commands with an unknown outcome, which may take effect at any later time. */
  readonly #possible = new Set<string | null>();
  #written = 0;
  #isBusy = false;

  constructor(name: string) {
    this.name = name;
  }

  /** A command for it is under way: no other one may begin. */
  get isBusy(): boolean {
    return this.#isBusy;
  }

  set(caller: Caller): Promise<void> {
    return this.#write(caller, String(++this.#written));
  }

  del(caller: Caller): Promise<void> {
    return this.#write(caller, null);
  }

  async #write(caller: Caller, value: string | null): Promise<void> {
    this.#isBusy = true;
    const outcome = await (value === null ? caller.del(this.name) : caller.set(this.name, value));
    this.#isBusy = false;
    if (outcome === "done") this.#acked = value;
    if (outcome === "unknown") this.#possible.add(value);
  }

  /** Reads it. What is wrong with what it holds; null: nothing, or it was not heard. */
  async check(caller: Caller): Promise<string | null> {
    this.#isBusy = true;
    const held = await caller.get(this.name);
    this.#isBusy = false;
    if (held === undefined) return null;
    const problem = this.problemOf(held);
    // A value that was seen took effect, and does so once: it is there from now on.
    if (problem === null && held !== null && this.#possible.delete(held)) this.#acked = held;
    return problem;
  }

  problemOf(held: string | null): string | null {
    if (held === this.#acked || this.#possible.has(held)) return null;
    return `${this.name} holds ${held ?? "nothing"}; ${this.#acked ?? "nothing"} was acknowledged last`;
  }
}
