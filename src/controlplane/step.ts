/** The two ends of a transition, and the checks that several of them make. */
import type { MetaState, NodeRecord, Reply } from "./state.ts";

/** Errors are remembered with their requests (image.ts has room for so much). */
const ERROR_LETTERS_MAX = 1000;

export type Step = { readonly state: MetaState; readonly reply: Reply };

export function done(state: MetaState, number = 0): Step {
  return { state, reply: { ok: true, number } };
}

/** The state is left as it is. */
export function refused(state: MetaState, error: string): Step {
  return { state, reply: { ok: false, error: error.slice(0, ERROR_LETTERS_MAX) } };
}

export function hasTwin(names: readonly (string | number)[]): boolean {
  return new Set(names).size < names.length;
}

export function noNode(id: string): string {
  return `NOTFOUND node '${id}' is not registered: start it with --control`;
}

export function noShard(id: string): string {
  return `NOTFOUND there is no shard '${id}'`;
}

/** Why a node cannot be given replicas; null if it can. */
export function placeProblem(node: NodeRecord | undefined, id: string): string | null {
  if (node === undefined) return noNode(id);
  if (node.excluded) return `CONFLICT node '${id}' is excluded: include it first`;
  return node.draining ? `CONFLICT node '${id}' is being drained` : null;
}

export function isSameList(a: readonly string[], b: readonly string[]): boolean {
  return a.length === b.length && a.every((one, i) => one === b[i]);
}
