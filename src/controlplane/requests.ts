/**
 * What people ask of the control plane, as JSON (design section 10): the body of each POST and the file of the first
 * layout, checked field by field. A field that is not known is refused, since it is most often one that was misspelt.
 *
 *     cluster.json, cluster init   { replicas?, vnodes?, shards: [ {id, weight?, nodes?} ], or a number: s1, s2 .. }
 *     /cluster/desired             { shard, add?: [node], remove?: [node] }
 *     /reshard/plan                { epoch, vnodes?, shards: [ {id, weight?, nodes?} ], manual?, dryRun? }
 *     /shard/add                   { id?, weight?, nodes?, epoch?, manual?, dryRun? }
 *     /shard/remove                { id, epoch?, manual?, dryRun? }
 *     /shard/declare-lost          { id, yes }
 *     /reshard/cutover, /cancel    { epoch }
 *     /node                        { node, action }
 *     /settings                    those that change
 *
 * Errors: NucleusError "EREQUEST", naming the field, what it may be, and what was there.
 */
import { NucleusError } from "../base/errors.ts";
import { isName, NAME_RULE } from "../base/names.ts";
import { VNODES_DEFAULT } from "../ring/layout.ts";
import { REPLICAS_MAX, SHARDS_MAX } from "../wire/control_plane.ts";
import { isWeight } from "../wire/shapes.ts";
import type { BodyOf } from "./commands.ts";
import type { Settings } from "./state.ts";

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
export type PlanWish = {
  readonly epoch: number;
  /** Null: as now. */
  readonly vnodes: number | null;
  readonly shards: readonly ShardRequest[];
  readonly manual: boolean;
};
/** `dryRun`: only say what it would do. */
export type PlanRequest = PlanWish & { readonly dryRun: boolean };
/** Changes one shard of the layout and leaves the others as they are. `epoch` null: whichever is next. */
type OneShard = { readonly epoch: number | null; readonly manual: boolean; readonly dryRun: boolean };
export type ShardAddRequest = OneShard & {
  /** Null: one that balances well. */
  readonly id: string | null;
  readonly weight: number;
  readonly nodes: readonly string[] | null;
};
export type ShardRemoveRequest = OneShard & { readonly id: string };
export type NodeRequest = { readonly node: string; readonly action: BodyOf<"node">["action"] };

type Fields = Readonly<Record<string, unknown>>;

export function parseFirstLayout(text: string): FirstLayout {
  const root = object(parseJson(text), "the layout", ["replicas", "vnodes", "shards"]);
  return {
    replicas: optional(root, "replicas", (value) => whole(value, "replicas", 1, REPLICAS_MAX)),
    vnodes: optional(root, "vnodes", vnodes) ?? VNODES_DEFAULT,
    shards: typeof root.shards === "number" ? numbered(root.shards) : shards(root.shards),
  };
}

/** Equal ones, placed by whoever carries it out. */
function numbered(count: number): ShardRequest[] {
  whole(count, "shards", 1, SHARDS_MAX);
  return Array.from({ length: count }, (_, i) => ({ id: `s${i + 1}`, weight: 1, nodes: null }));
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
  const root = object(parseJson(text), "the plan", ["epoch", "vnodes", "shards", "manual", "dryRun"]);
  return {
    epoch: epochOf(root),
    vnodes: optional(root, "vnodes", vnodes),
    shards: shards(root.shards),
    manual: flagOf(root, "manual"),
    dryRun: flagOf(root, "dryRun"),
  };
}

export function parseShardAdd(text: string): ShardAddRequest {
  const fields = ["id", "weight", "nodes", "epoch", "manual", "dryRun"];
  const root = object(parseJson(text), "the request", fields);
  const id = optional(root, "id", (value) => nameOf(value, "id"));
  // Checked as the shards of a plan are.
  const { weight, nodes } = shard(
    { ...picked(root, ["weight", "nodes"]), id: id ?? "any" },
    "the request",
    "",
  );
  return { id, weight, nodes, ...oneShard(root) };
}

export function parseShardRemove(text: string): ShardRemoveRequest {
  const root = object(parseJson(text), "the request", ["id", "epoch", "manual", "dryRun"]);
  return { id: nameOf(root.id, "id"), ...oneShard(root) };
}

function oneShard(root: Fields): OneShard {
  const epoch = root.epoch === undefined ? null : epochOf(root);
  return { epoch, manual: flagOf(root, "manual"), dryRun: flagOf(root, "dryRun") };
}

/** The shard that is lost; the asker has to say that it is meant. */
export function parseLost(text: string): string {
  const root = object(parseJson(text), "the request", ["id", "yes"]);
  const id = nameOf(root.id, "id");
  if (root.yes === true) return id;
  throw bad(`"yes"`, "true: what only this shard has is given up, for good", root.yes);
}

const ACTIONS: readonly NodeRequest["action"][] = ["drain", "undrain", "exclude", "include", "remove"];

export function parseNode(text: string): NodeRequest {
  const root = object(parseJson(text), "the request", ["node", "action"]);
  const action = ACTIONS.find((known) => known === root.action);
  if (action === undefined) throw bad(`"action"`, `one of ${ACTIONS.join(", ")}`, root.action);
  return { node: nameOf(root.node, "node"), action };
}

const SETTING_LIMITS: Readonly<Record<keyof Settings, readonly [min: number, max: number]>> = {
  replicas: [1, REPLICAS_MAX],
  replaceDeadMs: [0, Number.MAX_SAFE_INTEGER],
  movesMax: [1, SHARDS_MAX],
  moveBytesPerSecond: [1024, Number.MAX_SAFE_INTEGER],
  memoryBytesMax: [0, Number.MAX_SAFE_INTEGER],
};

/** The settings with those changed that the text names. */
export function parseSettings(text: string, now: Settings): Settings {
  const names = Object.keys(SETTING_LIMITS) as (keyof Settings)[];
  const root = object(parseJson(text), "the settings", names);
  const next = { ...now };
  for (const name of names) {
    const [min, max] = SETTING_LIMITS[name];
    if (root[name] !== undefined) next[name] = whole(root[name], name, min, max);
  }
  return next;
}

/** The body of a cutover or a cancel: the plan's number. */
export function parsePlanNumber(text: string): number {
  return epochOf(object(parseJson(text), "the request", ["epoch"]));
}

export function parseJson(text: string): unknown {
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
  const list = value.map((one, i) => shard(one, `shards[${i}]`));
  const twin = list.find(({ id }, i) => list.findIndex((other) => other.id === id) < i);
  if (twin !== undefined) throw bad(`"shards"`, "a list of different shards", twin.id);
  return list;
}

function shard(value: unknown, where: string, prefix = `${where}.`): ShardRequest {
  const fields = object(value, where, ["id", "weight", "nodes"]);
  const { weight = 1 } = fields;
  if (!isWeight(weight)) throw bad(`"${prefix}weight"`, "a number above 0, up to 100", weight);
  const nodes = optional(fields, "nodes", (list) => names(list, `${prefix}nodes`));
  if (nodes !== null && nodes.length === 0) throw bad(`"${prefix}nodes"`, "at least one node", []);
  return { id: nameOf(fields.id, `${prefix}id`), weight, nodes };
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

function flagOf(root: Fields, name: string): boolean {
  return optional(root, name, (value) => flag(value, name)) ?? false;
}

function picked(from: Fields, names: readonly string[]): Fields {
  return Object.fromEntries(
    names.filter((name) => from[name] !== undefined).map((name) => [name, from[name]]),
  );
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
