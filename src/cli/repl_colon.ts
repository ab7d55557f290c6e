/** The REPL's own commands: `run` gives the text to print. Errors are thrown with a message for the person. */
import { fromUtf8 } from "../base/bytes.ts";
import { formatCount, formatDuration } from "../base/units.ts";
import { SLOT_COUNT, slotOf } from "../ring/slot.ts";
import { COMMANDS } from "../wire/command_table.ts";
import { readAddress } from "./address.ts";
import { type ClusterView, type NodeView, shardOfSlot } from "./cluster_view.ts";
import { type KillReport, killAndMeasure } from "./kill_probe.ts";
import { commandOf, isNodeProcess, restartCommand } from "./local_process.ts";
import { counted, listed, type Paint, shellCommand } from "./output.ts";
import { COLON_COMMANDS, colonNames } from "./repl_colon_table.ts";
import type { Session } from "./repl_session.ts";
import { quoted } from "./reply_format.ts";
import { nodesText, shardsText, verdictText } from "./view_text.ts";

/** What `up` knows of the nodes it started. */
export type LocalCluster = {
  /** The command that starts a dead node again. */
  restartText(node: string): string;
  readonly respawns: boolean;
  /** The node is about to die by the REPL's hand, which tells of it. */
  onKill(node: string): void;
};

export type ColonContext = {
  readonly session: Session;
  readonly paint: Paint;
  /** Prints a line while a command is still at work. */
  readonly say: (line: string) => void;
  /** The nodes are children of this process. */
  readonly local: LocalCluster | null;
};

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
      if (words.length !== 1) throw new Error("Say whom, for example: :kill leader, or :kill n2");
      return kill(fromUtf8(words[0] as Uint8Array), context);
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
  if (colon !== undefined) return `${paint("bold", colon.name)} ${colon.usage}\n  ${colon.summary}.`;
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
  const shard = shardOfSlot(view);
  const lines = [`slot      ${slot} of ${formatCount(SLOT_COUNT)}, by CRC16 of ${quoted(hashedPart(key))}`];
  if (shard === null) return [...lines, "shard     unknown: no node answered"].join("\n");
  const voters = shard.replicas.filter(({ role }) => role !== "learner");
  const majority = Math.floor(voters.length / 2) + 1;
  const addr = view.nodes.find(({ id }) => id === shard.leader)?.addr;
  const leader =
    shard.leader === null ? "none now" : `${shard.leader} at ${addr}, elected in term ${shard.term}`;
  return [
    ...lines,
    `shard     ${shard.id}, which serves ${shard.slots === SLOT_COUNT ? "all" : formatCount(shard.slots)} slots`,
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

async function kill(whom: string, context: ColonContext): Promise<string> {
  const view = await context.session.view();
  const victim = findVictim(whom, view);
  const through = view.nodes.find(({ id, alive }) => alive && id !== victim.id);
  const address = through === undefined ? null : readAddress(through.addr);
  if (through === undefined || address === null) {
    throw new Error(`${victim.id} is the only node that runs: nobody would be left to write through.`);
  }
  const shards = view.shards.filter(({ leader }) => leader === victim.id).map(({ id }) => id);
  const restart = restartText(victim, context.local);
  const pid = victim.pid as number;
  const role = shards.length === 0 ? "which leads nothing" : `the leader of ${listed(shards)}`;
  context.say(
    `Killing ${victim.id} (pid ${pid}, ${role}) with SIGKILL, while writing through ${through.id} ..`,
  );
  context.local?.onKill(victim.id);
  const report = await killAndMeasure(pid, address);
  await context.session.connect();
  const after = await context.session.view();
  return [...reportLines(report, view, after, context.paint), restart].join("\n");
}

function findVictim(whom: string, view: ClusterView): NodeView {
  const ids = listed(view.nodes.map(({ id }) => id));
  const id = whom === "leader" ? view.shards[0]?.leader : whom;
  if (id === null || id === undefined) throw new Error("There is no leader to kill: see :shards");
  const node = view.nodes.find((other) => other.id === id);
  if (node === undefined)
    throw new Error(`There is no node ${id}. The nodes are ${ids}; or say: :kill leader`);
  if (!node.alive || node.pid === null)
    throw new Error(`${id} does not run, as far as can be seen: see :nodes`);
  const host = readAddress(node.addr)?.host ?? "";
  const here = host === "localhost" || host === "::1" || host.startsWith("127.");
  if (!here || !isNodeProcess(node.pid, node.id)) {
    throw new Error(
      `${id} is not a process of this machine, or not one of yours: it can only be killed there.`,
    );
  }
  return node;
}

function restartText(victim: NodeView, local: LocalCluster | null): string {
  if (local?.respawns) return `${victim.id} is started again in a second (--respawn).`;
  const command = commandOf(victim.pid as number);
  const text =
    local?.restartText(victim.id) ?? (command === null ? null : shellCommand(restartCommand(command)));
  return text === null ? `Start ${victim.id} again as it was started.` : `Start ${victim.id} again:  ${text}`;
}

/** Two columns: what, and how much. */
function reportLines(report: KillReport, before: ClusterView, after: ClusterView, paint: Paint): string[] {
  const { gapMs, acknowledged, refused, unknown, lost } = report;
  const lines: string[] = [];
  if (gapMs === null) {
    const alive = after.nodes.filter((node) => node.alive).length;
    lines.push(
      `write gap     no write was acknowledged any more: ${alive} of ${after.nodes.length} nodes run`,
    );
  } else {
    lines.push(
      `write gap     ${paint("bold", formatDuration(gapMs))}  (last acknowledgement before it to first after)`,
    );
  }
  for (const { id, leader, term } of after.shards) {
    const former = before.shards.find((shard) => shard.id === id)?.leader;
    if (leader !== null && leader !== former) lines.push(`new leader    ${leader} leads ${id}, term ${term}`);
    if (leader !== null && leader === former)
      lines.push(`leader        still ${leader}: nobody had to be elected`);
  }
  lines.push(`acknowledged  ${acknowledged} writes; ${lostText(lost, paint)}`);
  if (refused > 0) lines.push(`refused       ${counted(refused, "write")}, not carried out`);
  if (unknown > 0)
    lines.push(`unknown       ${counted(unknown, "write")} without an answer that says how it ended`);
  return lines;
}

function lostText(lost: number | null, paint: Paint): string {
  if (lost === null) return "they cannot be read back now, since reads need a majority too";
  if (lost === 0) return paint("green", "all were read back, nothing was lost");
  return paint("red", `${lost} OF THEM WERE LOST`);
}

/** Bytes of a word as a key would be typed; for completion of node names. */
export function colonArguments(name: string, view: ClusterView | null): readonly string[] {
  if (name === ":kill") return ["leader", ...(view?.nodes.map(({ id }) => id) ?? [])];
  if (name === ":help") return [...colonNames(), ...COMMANDS.map((command) => command.name)];
  return [];
}
