/**
 * What people ask of the control plane, as JSON (design section 10): the body of each POST and the file of the first
 * layout, checked field by field. A field that is not known is refused, since it is most often one that was misspelt.
 *
 *     cluster.json, cluster init   { replicas?, vnodes?, shards: [ {id, weight?, nodes?} ] }
 *     /cluster/desired             { shard, add?: [node], remove?: [node] }
 *     /reshard/plan                { epoch, vnodes?, shards: [ {id, weight?, nodes?} ], manual? }
 *     /reshard/cutover, /cancel    { epoch }
 *
 * Errors: NucleusError "EREQUEST", naming the field, what it may be, and what was there.
 */
import { NucleusError } from "../base/errors.ts";
import { VNODES_DEFAULT } from "../ring/layout.ts";
import { REPLICAS_MAX, SHARDS_MAX } from "../wire/control_plane.ts";
import { isName, isWeight, NAME_RULE } from "../wire/shapes.ts";

export type ShardRequest = {
  readonly id: string;
  readonly weight: number;
  /** Null: those it has; for a new shard, whichever are best. */
  readonly nodes: readonly string[] | null;
};
export type FirstLayout = {
  readonly replicas: number | null;
  readonly vnodes: number;
  readonly shards: readonly ShardRequest[];
};
export type DesiredRequest = {
  readonly shard: string;
  readonly add: readonly string[];
  readonly remove: readonly string[];
};
export type PlanRequest = {
  readonly epoch: number;
  /** Null: as now. */
  readonly vnodes: number | null;
  readonly shards: readonly ShardRequest[];
  readonly manual: boolean;
};

type Fields = Readonly<Record<string, unknown>>;

export function parseFirstLayout(text: string): FirstLayout {
  const root = object(parseJson(text), "the layout", ["replicas", "vnodes", "shards"]);
  return {
    replicas: optional(root, "replicas", (value) => whole(value, "replicas", 1, REPLICAS_MAX)),
    vnodes: optional(root, "vnodes", vnodes) ?? VNODES_DEFAULT,
    shards: shards(root.shards),
  };
}

export function parseDesired(text: string): DesiredRequest {
  const root = object(parseJson(text), "the request", ["shard", "add", "remove"]);
  const add = optional(root, "add", (value) => names(value, "add")) ?? [];
  const remove = optional(root, "remove", (value) => names(value, "remove")) ?? [];
  if (add.length + remove.length === 0) throw bad(`one of "add" and "remove"`, "a list of nodes", undefined);
  const both = add.find((node) => remove.includes(node));
  if (both !== undefined) throw bad(`"add" and "remove"`, "without a node in both", both);
  return { shard: nameOf(root.shard, "shard"), add, remove };
}

export function parsePlan(text: string): PlanRequest {
  const root = object(parseJson(text), "the plan", ["epoch", "vnodes", "shards", "manual"]);
  return {
    epoch: epochOf(root),
    vnodes: optional(root, "vnodes", vnodes),
    shards: shards(root.shards),
    manual: optional(root, "manual", (value) => flag(value, "manual")) ?? false,
  };
}

/** The body of a cutover or a cancel: the plan's number. */
export function parsePlanNumber(text: string): number {
  return epochOf(object(parseJson(text), "the request", ["epoch"]));
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new NucleusError("EREQUEST", `the request is not JSON: ${(error as Error).message}`);
  }
}

function epochOf(root: Fields): number {
  return whole(root.epoch, "epoch", 1, Number.MAX_SAFE_INTEGER);
}

function vnodes(value: unknown): number {
  return whole(value, "vnodes", 1, 4096);
}

function shards(value: unknown): ShardRequest[] {
  if (!Array.isArray(value) || value.length < 1 || value.length > SHARDS_MAX)
    throw bad(`"shards"`, `a list of 1 to ${SHARDS_MAX} shards`, Array.isArray(value) ? value.length : value);
  const list = value.map(shard);
  const twin = list.find(({ id }, i) => list.findIndex((other) => other.id === id) < i);
  if (twin !== undefined) throw bad(`"shards"`, "a list of different shards", twin.id);
  return list;
}

function shard(value: unknown, i: number): ShardRequest {
  const where = `shards[${i}]`;
  const fields = object(value, where, ["id", "weight", "nodes"]);
  const { weight = 1 } = fields;
  if (!isWeight(weight)) throw bad(`"${where}.weight"`, "a number above 0, up to 100", weight);
  const nodes = optional(fields, "nodes", (list) => names(list, `${where}.nodes`));
  if (nodes !== null && nodes.length === 0) throw bad(`"${where}.nodes"`, "at least one node", []);
  return { id: nameOf(fields.id, `${where}.id`), weight, nodes };
}

function names(value: unknown, where: string): string[] {
  if (!Array.isArray(value) || value.length > REPLICAS_MAX)
    throw bad(`"${where}"`, `a list of at most ${REPLICAS_MAX} nodes`, value);
  const list = value.map((name, i) => nameOf(name, `${where}[${i}]`));
  if (new Set(list).size < list.length) throw bad(`"${where}"`, "a list of different nodes", value);
  return list;
}

function nameOf(value: unknown, where: string): string {
  if (!isName(value)) throw bad(`"${where}"`, NAME_RULE, value);
  return value;
}

function whole(value: unknown, where: string, min: number, max: number): number {
  if (typeof value !== "number" || !Number.isSafeInteger(value) || value < min || value > max)
    throw bad(`"${where}"`, `a whole number from ${min} to ${max}`, value);
  return value;
}

function flag(value: unknown, where: string): boolean {
  if (typeof value !== "boolean") throw bad(`"${where}"`, "true or false", value);
  return value;
}

function optional<T>(from: Fields, key: string, parse: (value: unknown) => T): T | null {
  return from[key] === undefined ? null : parse(from[key]);
}

function object(value: unknown, where: string, known: readonly string[]): Fields {
  if (typeof value !== "object" || value === null || Array.isArray(value))
    throw bad(where, "an object", value);
  const other = Object.keys(value).find((key) => !known.includes(key));
  if (other === undefined) return value as Fields;
  throw new NucleusError("EREQUEST", `${where} has an unknown field "${other}"; known: ${known.join(", ")}`);
}

const ECHO_LETTERS_MAX = 100;

function bad(what: string, mayBe: string, is: unknown): NucleusError {
  const echo = (JSON.stringify(is) ?? "left out").slice(0, ECHO_LETTERS_MAX);
  return new NucleusError("EREQUEST", `${what} must be ${mayBe}, not ${echo}`);
}
