/** From an op to its executor: the whole list of what the state machine can do. */
import { OP, type Op } from "../../wire/command.ts";
import type { Execution } from "../execution.ts";
import { argumentError } from "./arguments.ts";
import * as keys from "./keys.ts";
import * as numbers from "./numbers.ts";
import * as strings from "./strings.ts";
import * as walks from "./walks.ts";

type Executor = (x: Execution) => void;

const EXECUTOR_OF: Readonly<Record<Op, Executor>> = {
  [OP.get]: strings.get,
  [OP.strlen]: strings.strlen,
  [OP.getRange]: strings.getRange,
  [OP.mget]: strings.mget,
  [OP.exists]: keys.exists,
  [OP.touch]: keys.exists,
  [OP.ttl]: keys.ttl,
  [OP.type]: keys.type,
  [OP.dbSize]: walks.dbSize,
  [OP.keys]: walks.keys,
  [OP.scan]: walks.scan,
  [OP.randomKey]: walks.randomKey,
  [OP.getRecord]: strings.getRecord,
  [OP.keysInSlot]: walks.keysInSlot,
  [OP.set]: strings.set,
  [OP.getDel]: strings.getDel,
  [OP.getEx]: strings.getEx,
  [OP.getSet]: strings.getSet,
  [OP.append]: strings.append,
  [OP.setRange]: strings.setRange,
  [OP.incrBy]: numbers.incrBy,
  [OP.incrByFloat]: numbers.incrByFloat,
  [OP.mset]: strings.mset,
  [OP.msetNx]: strings.msetNx,
  [OP.del]: keys.del,
  [OP.expire]: keys.expire,
  [OP.persist]: keys.persist,
  [OP.rename]: keys.rename,
  [OP.copy]: keys.copy,
  [OP.flushAll]: keys.flushAll,
  [OP.delIf]: strings.delIf,
};

/** The same by op number: a load instead of a lookup by name. */
const EXECUTORS: (Executor | undefined)[] = new Array(256).fill(undefined);
for (const op of Object.values(OP)) EXECUTORS[op] = EXECUTOR_OF[op];

/** Ops that can make the store larger: refused at the memory cap. All others go on. */
export const GROWING_OPS = new Set<number>([
  OP.set,
  OP.getSet,
  OP.append,
  OP.setRange,
  OP.incrBy,
  OP.incrByFloat,
  OP.mset,
  OP.msetNx,
  OP.copy,
]);

/** Runs the command of `x` whatever its arguments are: exactly one reply, unless it leaves `x` undecided. */
export function execute(x: Execution): void {
  const error = argumentError(x.command);
  if (error === null) (EXECUTORS[x.command.op] as Executor)(x);
  else x.reply.error(error);
}
