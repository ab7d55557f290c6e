/** `:kill` and `:start`: a node's process ends, or begins again, while the person watches. */
import { performance } from "node:perf_hooks";
import { setTimeout as sleep } from "node:timers/promises";
import { utf8 } from "../base/bytes.ts";
import { formatDuration } from "../base/units.ts";
import { slotOf } from "../ring/slot.ts";
import { readAddress } from "./address.ts";
import { type ClusterView, type NodeView, placeOfSlot } from "./cluster_view.ts";
import { type KillReport, killAndMeasure } from "./kill_probe.ts";
import { commandOf, isOwnProcess, restartCommand } from "./local_process.ts";
import { counted, listed, type Paint, shellCommand } from "./output.ts";
import type { Session } from "./repl_session.ts";

/** What `up` knows of the nodes it started. */
export type LocalCluster = {
  /** The command that starts a dead node again. */
  restartText(node: string): string;
  readonly respawns: boolean;
  /** The node is about to die by the REPL's hand, which tells of it. */
  onKill(node: string): void;
  /** False: it runs, or there is no such node. */
  start(node: string): boolean;
};

export type ColonContext = {
  readonly session: Session;
  readonly paint: Paint;
  /** Prints a line while a command is still at work. */
  readonly say: (line: string) => void;
  /** The nodes are children of this process. */
  readonly local: LocalCluster | null;
};

/** `words`: a node; or "leader", and of which shard. */
export async function kill(words: readonly string[], context: ColonContext): Promise<string> {
  const view = await context.session.view();
  const victim = findVictim(words, view);
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
  const shard = words[0] === "leader" ? (words[1] ?? shards[0]) : shards[0];
  const report = await killAndMeasure(pid, address, shard === undefined ? null : tagOf(shard, view));
  await context.session.connect();
  const after = await settled(context.session, shards);
  return [...reportLines(report, view, after, context.paint), restart].join("\n");
}

/** How long a node that was started may take to answer before it is said that it does not. */
const START_MS_MAX = 10_000;

export async function start(id: string, { session, local }: ColonContext): Promise<string> {
  if (local === null) throw new Error("Only the shell of `nucleus up --repl` starts nodes.");
  const find = async (): Promise<NodeView | undefined> =>
    (await session.view()).nodes.find((node) => node.id === id);
  if (!local.start(id)) {
    const node = await find();
    throw new Error(node === undefined ? `There is no node ${id}: see :nodes` : `${id} runs already.`);
  }
  // Control processes, and nodes that have not registered, are nowhere to be seen.
  if ((await find()) === undefined) return `${id} is started.`;
  const deadlineMs = performance.now() + START_MS_MAX;
  while (performance.now() < deadlineMs) {
    await sleep(50);
    const node = await find();
    if (node?.alive) return `${id} runs again (pid ${node.pid}).`;
  }
  throw new Error(`${id} was started but does not answer yet: see :nodes`);
}

/** The shards that lost their leader elect new ones at the same time, but not in the same moment. */
const SETTLE_MS_MAX = 3000;

async function settled(session: Session, shards: readonly string[]): Promise<ClusterView> {
  const endMs = performance.now() + SETTLE_MS_MAX;
  for (;;) {
    const view = await session.view();
    const isLed = view.shards.every(({ id, leader }) => leader !== null || !shards.includes(id));
    if (isLed || performance.now() > endMs) return view;
    await sleep(50);
  }
}

/** Enough to find a slot of a shard that serves one slot of a thousand. */
const TAGS_MAX = 20_000;

/** A hash tag whose slot the shard serves; null if nobody knows which those are. */
export function tagOf(shard: string, view: ClusterView): string | null {
  if (view.map === null) return null;
  for (let i = 0; i < TAGS_MAX; i++) {
    const bytes = utf8(`p${i}`);
    if (placeOfSlot(view, slotOf(bytes, 0, bytes.length))?.shard.id === shard) return `p${i}`;
  }
  return null;
}

function findVictim([whom = "", shard]: readonly string[], view: ClusterView): NodeView {
  const ids = listed(view.nodes.map(({ id }) => id));
  if (shard !== undefined && (whom !== "leader" || view.shards.every(({ id }) => id !== shard)))
    throw new Error(`There is no shard ${shard}: see :shards`);
  const led = view.shards.find(({ id, leader }) => (shard === undefined ? leader !== null : id === shard));
  const id = whom === "leader" ? led?.leader : whom;
  if (id === null || id === undefined) throw new Error("There is no leader to kill: see :shards");
  const node = view.nodes.find((other) => other.id === id);
  if (node === undefined)
    throw new Error(`There is no node ${id}. The nodes are ${ids}; or say: :kill leader`);
  if (!node.alive || node.pid === null)
    throw new Error(`${id} does not run, as far as can be seen: see :nodes`);
  const host = readAddress(node.addr)?.host ?? "";
  const here = host === "localhost" || host === "::1" || host.startsWith("127.");
  if (!here || !isOwnProcess(node.pid, node.id)) {
    throw new Error(
      `${id} is not a process of this machine, or not one of yours: it can only be killed there.`,
    );
  }
  return node;
}

function restartText({ id, pid }: NodeView, local: LocalCluster | null): string {
  if (local?.respawns) return `${id} is started again in a second (--respawn).`;
  if (local !== null)
    return `Start ${id} again with  :start ${id}  or, elsewhere, with:\n  ${local.restartText(id)}`;
  const command = pid === null ? null : commandOf(pid);
  if (command === null) return `Start ${id} again as it was started.`;
  return `Start ${id} again, if its \`up\` does not, with:\n  ${shellCommand(restartCommand(command))}`;
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
  lines.push(...leaderLines(before, after));
  lines.push(`acknowledged  ${acknowledged} writes; ${lostText(lost, paint)}`);
  if (refused > 0) lines.push(`refused       ${counted(refused, "write")}, not carried out`);
  if (unknown > 0)
    lines.push(`unknown       ${counted(unknown, "write")} without an answer that says how it ended`);
  return lines;
}

function leaderLines(before: ClusterView, after: ClusterView): string[] {
  const lines: string[] = [];
  for (const { id, leader, term } of after.shards) {
    const former = before.shards.find((shard) => shard.id === id)?.leader;
    if (leader === null) lines.push(`no leader     ${id} has none`);
    else if (leader !== former) lines.push(`new leader    ${leader} leads ${id}, term ${term}`);
  }
  if (lines.length > 0) return lines;
  const [only, other] = after.shards;
  const still =
    only === undefined || other !== undefined ? "every shard has its own" : `still ${only.leader}`;
  return [`leader        ${still}: nobody had to be elected`];
}

function lostText(lost: number | null, paint: Paint): string {
  if (lost === null) return "they cannot be read back now, since reads need a majority too";
  if (lost === 0) return paint("green", "all were read back, nothing was lost");
  return paint("red", `${lost} OF THEM WERE LOST`);
}
