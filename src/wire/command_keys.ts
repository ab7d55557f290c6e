/** Which arguments of a command frame are keys: what routing, slots and limits need to know of an op. */
import { type CommandView, OP, type Op } from "./command.ts";

/** none; argument 0; arguments 0 and 1; all; every second from 0. */
export type KeyShape = "none" | "first" | "two" | "all" | "pairs";

const SHAPES = new Map<Op, KeyShape>([
  [OP.dbSize, "none"],
  [OP.keys, "none"],
  [OP.scan, "none"],
  [OP.randomKey, "none"],
  [OP.keysInSlot, "none"],
  [OP.flushAll, "none"],
  [OP.mget, "all"],
  [OP.exists, "all"],
  [OP.touch, "all"],
  [OP.del, "all"],
  [OP.mset, "pairs"],
  [OP.msetNx, "pairs"],
  [OP.rename, "two"],
  [OP.copy, "two"],
]);

export function keyShape(op: Op): KeyShape {
  return SHAPES.get(op) ?? "first";
}

/** How many keys the command names, repeats counted. */
export function keyCount(view: CommandView): number {
  const shape = keyShape(view.op);
  if (shape === "first") return 1;
  if (shape === "none") return 0;
  if (shape === "two") return 2;
  return shape === "all" ? view.argCount : view.argCount / 2;
}

/** The argument that holds key `n`. */
export function keyArgument(op: Op, n: number): number {
  const shape = keyShape(op);
  return shape === "pairs" ? 2 * n : n;
}
