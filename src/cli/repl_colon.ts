/** The REPL's own commands: `run` gives the text to print. Errors are thrown with a message for the person. */
import { fromUtf8 } from "../base/bytes.ts";
import { formatCount } from "../base/units.ts";
import { SLOT_COUNT, slotOf } from "../ring/slot.ts";
import { COMMANDS } from "../wire/command_table.ts";
import { type ClusterView, placeOfSlot } from "./cluster_view.ts";
import { counted, type Paint } from "./output.ts";
import { COLON_COMMANDS, colonNames } from "./repl_colon_table.ts";
import { type ColonContext, kill, start } from "./repl_kill.ts";
import { quoted } from "./reply_format.ts";
import { nodesText, shardsText, verdictText } from "./view_text.ts";

export async function runColon(
  name: string,
  words: readonly Uint8Array[],
  context: ColonContext,
): Promise<string> {
  const { session, paint } = context;
  switch (name) {
    case ":help":
      return helpText(words[0] === undefined ? "" : fromUtf8(words[0]), paint);
    case ":nodes":
      return nodesText(await session.view(), paint);
    case ":shards": {
      const view = await session.view();
      return `${verdictText(view, paint)}\n${shardsText(view, paint)}`;
    }
    case ":explain":
      if (words.length !== 1) throw new Error("Say which key, for example: :explain hello");
      return explainText(words[0] as Uint8Array, await session.view());
    case ":kill":
      if (words.length < 1 || words.length > 2)
        throw new Error("Say whom, for example: :kill leader, :kill leader s2, or :kill n2");
      return kill(
        words.map((word) => fromUtf8(word)),
        context,
      );
    case ":start":
      if (words.length !== 1) throw new Error("Say which node, for example: :start n2");
      return start(fromUtf8(words[0] as Uint8Array), context);
    default:
      throw new Error(`There is no ${name}. There are: ${colonNames().join(" ")}`);
  }
}

export function helpText(about: string, paint: Paint): string {
  if (about !== "") return commandHelp(about.toLowerCase(), paint);
  const width = Math.max(...COLON_COMMANDS.map(({ name, usage }) => name.length + usage.length)) + 3;
  const lines = COLON_COMMANDS.map(
    ({ name, usage, summary }) => `  ${`${name} ${usage}`.padEnd(width)}${summary}`,
  );
  return [
    `Any Redis-style command goes to the cluster, whichever node this is connected to:`,
    `  SET hello world    GET hello    INCR visits    SET session x EX 60    DEL hello`,
    "",
    "Commands of this shell:",
    ...lines,
    "",
    `Tab completes, grey text shows what may follow. ${counted(COMMANDS.length, "command")}; :help SET tells about one.`,
  ].join("\n");
}

function commandHelp(about: string, paint: Paint): string {
  const colon = COLON_COMMANDS.find(({ name }) => name === about || name === `:${about}`);
  if (colon !== undefined) {
    return `${`${paint("bold", colon.name)} ${colon.usage}`.trimEnd()}\n  ${colon.summary}.`;
  }
  const command = COMMANDS.find(({ name }) => name === about);
  if (command === undefined) {
    const near = COMMANDS.filter(({ name }) => name.startsWith(about.slice(0, 3))).map(({ name }) => name);
    const hint = near.length === 0 ? "" : ` There is: ${near.join(" ")}.`;
    throw new Error(`There is no command ${about.toUpperCase()} here.${hint}`);
  }
  const { name, usage, summary, group, since } = command;
  const head = `${paint("bold", name.toUpperCase())} ${usage}`.trimEnd();
  return `${head}\n  ${summary}.\n  Group ${group}; in Redis since ${since}.`;
}

export function explainText(key: Uint8Array, view: ClusterView): string {
  const slot = slotOf(key, 0, key.length);
  const place = placeOfSlot(view, slot);
  const lines = [`slot      ${slot} of ${formatCount(SLOT_COUNT)}, by CRC16 of ${quoted(hashedPart(key))}`];
  if (place === null) {
    const why =
      view.shards.length === 0 ? "no shard is known" : "no node that was asked knows whose the slot is";
    return [...lines, `shard     unknown: ${why}`].join("\n");
  }
  const { shard, epoch } = place;
  const voters = shard.replicas.filter(({ role }) => role !== "learner");
  const majority = Math.floor(voters.length / 2) + 1;
  const addr = view.nodes.find(({ id }) => id === shard.leader)?.addr;
  const leader =
    shard.leader === null ? "none now" : `${shard.leader} at ${addr}, elected in term ${shard.term}`;
  return [
    ...lines,
    `shard     ${shard.id}, which serves ${shard.slots === SLOT_COUNT ? "all" : formatCount(shard.slots)} slots`,
    ...(view.shards.length > 1 || epoch > 1
      ? [`epoch     ${epoch}${epoch === 1 ? ", as in the first layout" : ", which brought this slot here"}`]
      : []),
    `leader    ${leader}`,
    `replicas  ${shard.replicas.map(({ node }) => node).join(" ")}`,
    `a write   goes to the leader; acknowledged when ${majority} of ${voters.length} have it on disk`,
    `a read    is answered by the leader, after ${majority} of ${voters.length} confirmed that it still leads`,
  ].join("\n");
}

/** What of the key is hashed: the part in braces if there is one (ring/slot.ts). */
function hashedPart(key: Uint8Array): Uint8Array {
  const open = key.indexOf(0x7b);
  const close = open < 0 ? -1 : key.indexOf(0x7d, open);
  return close > open + 1 ? key.subarray(open + 1, close) : key;
}

/** What may follow a command of this shell, for completion. */
export function colonArguments(name: string, view: ClusterView | null): readonly string[] {
  const nodes = view?.nodes.map(({ id }) => id) ?? [];
  if (name === ":kill") return ["leader", ...nodes, ...(view?.shards.map(({ id }) => id) ?? [])];
  if (name === ":start") return nodes;
  if (name === ":help") return [...colonNames(), ...COMMANDS.map((command) => command.name)];
  return [];
}
