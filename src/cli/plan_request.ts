/**
 * From the words of `reshard plan` and `reshard apply` to the layout that is wished (POST /reshard/plan): what there is,
 * with some shards added, removed, or given another weight; or what a file says.
 */
import { EXIT } from "./exit_codes.ts";
import type { Fields } from "./json_fields.ts";
import { CliError, listed } from "./output.ts";

export type PlanWords = {
  /** "s3", or with its weight "s3=2". */
  readonly add?: readonly string[] | undefined;
  readonly remove?: readonly string[] | undefined;
  /** "s1=2" */
  readonly weight?: readonly string[] | undefined;
  /** For the one shard that is added. */
  readonly nodes?: readonly string[] | undefined;
  readonly vnodes?: number | undefined;
};

export type WishedShard = {
  readonly id: string;
  readonly weight: number;
  readonly nodes?: readonly string[];
};
export type PlanBody = {
  readonly epoch: number;
  readonly vnodes?: number;
  readonly shards: readonly WishedShard[];
  readonly manual?: boolean;
  readonly dryRun?: boolean;
};

/** The next layout. `now` is the reply to GET /reshard/plan. */
export function planBody(now: Fields, words: PlanWords): PlanBody {
  const shards = new Map(now.list("shards").map((one) => [one.text("id"), one.number("weight")]));
  const known = (id: string): string => {
    if (shards.has(id)) return id;
    const names = [...shards.keys()];
    throw new CliError(EXIT.notFound, `There is no shard ${id}.`, "", `There are: ${listed(names)}.`);
  };
  for (const word of words.weight ?? []) {
    const [id, weight] = weighted(word, "--weight");
    if (weight === null) throw badWeight(word, "--weight");
    shards.set(known(id), weight);
  }
  for (const id of words.remove ?? []) shards.delete(known(id));
  const added = (words.add ?? []).map((word) => weighted(word, "--add"));
  for (const [id, weight] of added) {
    if (shards.has(id)) throw new CliError(EXIT.conflict, `There is a shard ${id} already.`);
    shards.set(id, weight ?? 1);
  }
  if (shards.size === 0) throw new CliError(EXIT.usage, "No shard would be left.");
  const { nodes } = words;
  if (nodes !== undefined && added.length !== 1)
    throw new CliError(
      EXIT.usage,
      "--nodes are for one shard that is added.",
      "",
      "With several, say it in a file: --file",
    );
  const list = [...shards].map(([id, weight]): WishedShard => {
    return nodes !== undefined && id === added[0]?.[0] ? { id, weight, nodes } : { id, weight };
  });
  const vnodes = words.vnodes === undefined ? {} : { vnodes: words.vnodes };
  return { epoch: now.number("next"), ...vnodes, shards: list };
}

function weighted(word: string, option: string): readonly [id: string, weight: number | null] {
  const [id = "", text] = word.split("=", 2);
  if (id === "") throw badWeight(word, option);
  if (text === undefined) return [id, null];
  const weight = Number(text);
  if (text === "" || !(weight > 0)) throw badWeight(word, option);
  return [id, weight];
}

function badWeight(word: string, option: string): CliError {
  const example = `For example: ${option} s1=2`;
  return new CliError(EXIT.usage, `${option} ${word}: a shard and its weight are expected.`, "", example);
}

/** The layout in a file: `{shards: [{id, weight?, nodes?}], vnodes?, manual?, epoch?}`; the control plane checks it. */
export function planOfFile(text: string, path: string, next: number): object {
  let root: unknown;
  try {
    root = JSON.parse(text);
  } catch (error) {
    throw new CliError(EXIT.usage, `${path} is not JSON.`, (error as Error).message);
  }
  if (typeof root !== "object" || root === null || !("shards" in root))
    throw new CliError(
      EXIT.usage,
      `${path} is no layout.`,
      "",
      `For example: {"shards": [{"id": "s1"}, {"id": "s2", "weight": 2, "nodes": ["n1", "n2", "n3"]}]}`,
    );
  return { epoch: next, ...root };
}
