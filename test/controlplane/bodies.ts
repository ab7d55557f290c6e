/** Commands as tests write them: what does not matter is filled in. */
import type { Body, BodyOf } from "../../src/controlplane/commands.ts";
import type { Heard, MoveRecord } from "../../src/wire/control_plane.ts";
import type { Slots } from "../../src/wire/shapes.ts";
import { id } from "./driver.ts";

export const NOTHING_HEARD: Heard = { version: { restore: 0, index: 0 }, epoch: 0, plan: 0 };

export function register(
  node: string,
  incarnation = id(node),
  heard: Heard = NOTHING_HEARD,
): BodyOf<"register"> {
  const port = 7000 + Number(node.replace(/\D/g, ""));
  const where = { address: `127.0.0.1:${port}`, http: `127.0.0.1:${port + 1000}` };
  return { kind: "register", registration: { node, incarnation, ...where, zone: "", capacity: 100, heard } };
}

export function newborn(group: number, nodes: readonly string[]): { group: number; founders: BodyFounders } {
  return { group, founders: nodes.map((node, i) => ({ node, incarnation: id(node), replica: i + 1 })) };
}
type BodyFounders = { node: string; incarnation: string; replica: number }[];

/** Shards s1.. with equal parts of the slots, on the same nodes, in groups 101.. */
export function init(count: number, nodes: readonly string[]): BodyOf<"init"> {
  const slots = Array.from(
    { length: count },
    (_, i): Slots => [[Math.floor((i * 16384) / count), Math.floor(((i + 1) * 16384) / count) - 1]],
  );
  const shards = slots.map((_, i) => ({ id: `s${i + 1}`, weight: 1, newborn: newborn(101 + i, nodes) }));
  return { kind: "init", replicas: 3, vnodes: 256, shards, slots };
}

export function plan(
  number: number,
  shards: BodyOf<"plan">["shards"],
  moves: BodyOf<"plan">["moves"],
  manual = false,
): BodyOf<"plan"> {
  return { kind: "plan", number, vnodes: 256, manual, shards, moves };
}

export function old(...ids: readonly string[]): BodyOf<"plan">["shards"] {
  return ids.map((name) => ({ id: name, weight: 1, newborn: null }));
}

export const RECORD: MoveRecord = {
  sourceIndex: 400,
  targetIndex: 90,
  keys: 1000,
  bytes: 64_000,
  recordsHash: "00112233aabbccdd",
  sessionsHash: "8899aabb00112233",
  pauseMs: 4,
};

/** Three nodes and two shards on all of them. */
export const SMALL: readonly Body[] = [
  register("n1"),
  register("n2"),
  register("n3"),
  init(2, ["n1", "n2", "n3"]),
];
