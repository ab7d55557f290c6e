/**
 * Golden scripts of the control plane's transitions: a command on each line, what came of it indented below.
 *
 *     register n1 [incarnation] [restore.index epoch plan]
 *     init s1,s2 n1,n2,n3                shards with equal parts of the slots, on these nodes
 *     plan 2 s1,s2,s3=n1,n2 s1>s3:0-99   number, shards (new ones with their nodes; of those of init without), moves
 *     plan-manual ..                     the same, waiting for a cutover
 *     start 2 0 1 | outcome 3 owned | cutover 2 | cancel 2 | desired s1 +n4 -n1 [?n1,n2,n3] | node n1 drain
 *     formed s1 | retire s1 | lost s1 | adopt s9 109 n1,n2 | assign s1 5 0-99 | restored token
 *     again                              the last command once more, under the same request id
 *     state                              what the control plane remembers
 */
import type { Body } from "../../src/controlplane/commands.ts";
import { type MetaState, ordered } from "../../src/controlplane/state.ts";
import type { Slots } from "../../src/wire/shapes.ts";
import { init, newborn, plan, RECORD, register } from "./bodies.ts";
import { Driver, id } from "./driver.ts";

export function runScript(script: string): string {
  const driver = new Driver();
  const out: string[] = [];
  let last: Body | null = null;
  let request = 0;
  for (const line of script.split("\n")) {
    if (line.startsWith("  ")) continue; // an earlier outcome
    out.push(line);
    const words = line.split(" ").filter((word) => word !== "");
    if (words.length === 0 || line.startsWith("#")) continue;
    if (words[0] === "state") {
      out.push(...printState(driver.state).map((text) => `  ${text}`));
      continue;
    }
    if (words[0] !== "again") {
      last = bodyOf(words);
      request++;
    }
    if (last === null) throw new Error("nothing to do again");
    out.push(`  ${driver.run(last, id(`request ${request}`))}`);
  }
  return out.join("\n");
}

function bodyOf(words: readonly string[]): Body {
  const [verb, a = "", b = "", ...rest] = words;
  switch (verb) {
    case "register": {
      const [version = "0.0", epoch = "0", planNumber = "0"] = rest;
      const [restore = "0", index = "0"] = version.split(".");
      const heard = { version: { restore: Number(restore), index: Number(index) } };
      const counters = { epoch: Number(epoch), plan: Number(planNumber) };
      return register(a, id(b === "" ? a : b), { ...heard, ...counters });
    }
    case "init":
      return init(a.split(",").length, b.split(","));
    case "plan":
    case "plan-manual":
      return plan(Number(a), plannedShards(b), rest.map(moveOf), verb === "plan-manual");
    case "start":
      return { kind: "start", plan: Number(a), move: Number(b), tries: Number(rest[0]) };
    case "outcome":
      return {
        kind: "outcome",
        epoch: Number(a),
        phase: b as "owned" | "aborted" | "closed",
        record: b === "owned" ? RECORD : null,
      };
    case "cutover":
    case "cancel":
      return { kind: verb, number: Number(a) };
    case "desired": {
      const all = [b, ...rest];
      const named = (sign: string): string[] =>
        all.filter((word) => word.startsWith(sign)).flatMap((word) => word.slice(1).split(","));
      const expected = named("?");
      return {
        kind: "desired",
        shard: a,
        add: named("+"),
        remove: named("-"),
        expected: expected.length === 0 ? null : expected,
      };
    }
    case "node":
      return { kind: "node", node: a, action: b as "drain" };
    case "formed":
    case "retire":
    case "lost":
      return { kind: verb, shard: a };
    case "adopt":
      return { kind: "adopt", shard: a, group: Number(b), replicas: (rest[0] ?? "").split(",") };
    case "assign":
      return { kind: "assign", shard: a, claims: [{ epoch: Number(b), slots: slotsOf(rest[0] ?? "") }] };
    case "restored":
      return { kind: "restored", token: id(a) };
    default:
      throw new Error(`unknown command ${verb}`);
  }
}

/** "s1,s2,s3=n1+n2": new ones have nodes and get group 100 + their number. */
function plannedShards(
  text: string,
): { id: string; weight: number; newborn: ReturnType<typeof newborn> | null }[] {
  return text.split(",").map((word) => {
    const [name = "", nodes] = word.split("=");
    const group = 100 + Number(name.replace(/\D/g, ""));
    return { id: name, weight: 1, newborn: nodes === undefined ? null : newborn(group, nodes.split("+")) };
  });
}

function moveOf(text: string): { from: string; to: string; slots: Slots } {
  const [, from = "", to = "", ranges = ""] = /^(.+)>(.+):(.+)$/.exec(text) ?? [];
  return { from, to, slots: slotsOf(ranges) };
}

function slotsOf(text: string): Slots {
  return text.split("+").map((range) => {
    const [first, last] = range.split("-").map(Number);
    return [first as number, last ?? (first as number)] as const;
  });
}

export function printState(state: MetaState): string[] {
  const { version, epoch, planNumber, awaited, layout, plan: active, planEnd } = state;
  const lines = [`version ${version.restore}.${version.index} epoch ${epoch} plan ${planNumber}`];
  if (awaited !== null) lines.push(`waits for ${awaited.join(" ")}`);
  for (const { id: name, draining, excluded, former } of ordered(state.nodes))
    lines.push(
      `node ${name}${draining ? " draining" : ""}${excluded ? " excluded" : ""}${former.length > 0 ? ` had ${former.length} before` : ""}`,
    );
  if (layout !== null)
    lines.push(`layout ${layout.number}: ${layout.shards.map((shard) => shard.id).join(" ")}`);
  const counts = state.assignment.counts();
  for (const shard of ordered(state.shards)) {
    const is = `${shard.state}${shard.formed ? "" : ", not formed"}`;
    lines.push(`shard ${shard.id} ${is}: ${counts.get(shard.id) ?? 0} slots on ${shard.replicas.join(" ")}`);
  }
  if (state.retired.length > 0) lines.push(`retired ${state.retired.map(({ shard }) => shard).join(" ")}`);
  if (active !== null) {
    const how = `${active.manual ? " manual" : ""}${active.cutover ? " cutover" : ""}${active.cancelled > 0 ? " cancelled" : ""}`;
    lines.push(`plan ${active.number}${how}`);
    for (const move of active.moves)
      lines.push(`  ${move.from} > ${move.to} ${move.state} epoch ${move.epoch} tries ${move.tries}`);
  }
  if (planEnd !== null)
    lines.push(
      `last plan ${planEnd.number}: ${planEnd.done} of ${planEnd.moves}${planEnd.cancelled ? ", cancelled" : ""}`,
    );
  for (const done of state.finished) lines.push(`moved ${done.from} > ${done.to} epoch ${done.epoch}`);
  return lines;
}
