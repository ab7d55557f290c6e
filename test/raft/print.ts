/** How golden scripts show messages, configs and replicas: short, and without wording that would freeze prose. */
import { fromUtf8 } from "../../src/base/bytes.ts";
import { configOfEntry, ENTRY_BODY_OFFSET } from "../../src/raft/config.ts";
import { ENTRY_KIND, type Entry, type GroupConfig, type Message } from "../../src/raft/types.ts";
import type { Packet, Replica } from "./cluster.ts";

export function showConfig(config: GroupConfig): string {
  const ids = (list: GroupConfig["voters"]): string => list.map(({ replica }) => replica).join(",");
  const parts = [`v${config.version}`, `voters=${ids(config.voters)}`];
  if (config.outgoing.length > 0) parts.push(`outgoing=${ids(config.outgoing)}`);
  if (config.learners.length > 0) parts.push(`learners=${ids(config.learners)}`);
  return parts.join(" ");
}

/** "5/t2 x": index, term, content. */
export function showEntry(entry: Entry): string {
  return `${entry.index}/t${entry.term} ${showContent(entry)}`;
}

function showContent(entry: Entry): string {
  if (entry.kind === ENTRY_KIND.noop) return "noop";
  const config = entry.kind === ENTRY_KIND.commands ? null : configOfEntry(entry);
  if (config !== null) return `config ${showConfig(config)}`;
  const text = fromUtf8(entry.bytes.subarray(ENTRY_BODY_OFFSET));
  return text.length <= 20 ? text : `${text.slice(0, 4)}.. (${text.length})`;
}

function showMessage(m: Message): string {
  const head = `${m.kind} t${m.term}`;
  switch (m.kind) {
    case "vote":
    case "prevote":
      return `${head} last=${m.lastIndex}/t${m.lastTerm}${m.transfer ? " transfer" : ""}`;
    case "vote_reply":
    case "prevote_reply":
      return `${head} ${m.granted ? "yes" : "no"}`;
    case "append": {
      const entries = m.entries.map(showEntry).join(", ");
      return `${head} after=${m.prevIndex}/t${m.prevTerm} [${entries}] commit=${m.commit}`;
    }
    case "append_reply":
      return m.accepted
        ? `${head} has ${m.index}`
        : `${head} lacks ${m.index}, try ${m.hintIndex}/t${m.hintTerm}`;
    case "heartbeat":
      return `${head} commit=${m.commit} round=${m.round}${m.rest === 0 ? "" : ` rest=${m.rest}`}`;
    case "heartbeat_reply":
      return `${head} round=${m.round}${m.rest === 0 ? "" : ` rest=${m.rest}`}`;
    case "snapshot":
      return `${head} at ${m.meta.index}/t${m.meta.term} ${showConfig(m.meta.config)}`;
    case "read_ask":
      return `${head} ask=${m.ask}`;
    case "read_answer":
      return `${head} ask=${m.ask} index=${m.index}`;
    case "timeout_now":
      return head;
  }
}

export function showPacket({ id, message }: Packet): string {
  return `#${id} ${message.from}>${message.to} ${showMessage(message)}`;
}

export function showStatus(replica: Replica): string {
  const { core, disk, id, up } = replica;
  if (!up) return `${id} down`;
  const leader = core.leader === 0 ? "-" : String(core.leader);
  const log = `(${core.snapshotIndex}, ${core.lastIndex}]`;
  const unsynced = disk.queue.length === 0 ? "" : ` unsynced=${disk.queue.length}`;
  return (
    `${id} ${core.role} t${core.term} leader=${leader} log=${log} durable=${core.durableIndex} ` +
    `commit=${core.commitIndex} applied=${core.appliedIndex}${unsynced}${core.atRest ? " at rest" : ""}`
  );
}

export function showDisk({ id, disk }: Replica): string {
  const { hardState, held, entries } = disk;
  const { index, term, config } = held.meta;
  const snapshot = index === 0 ? "" : ` snapshot=${index}/t${term} (${showConfig(config)})`;
  return `${id} disk t${hardState.term} vote=${hardState.vote}${snapshot} [${entries.map(showEntry).join(", ")}]`;
}

export function showProgress(replica: Replica): string[] {
  return [...replica.core.progress]
    .sort(([a], [b]) => a - b)
    .map(
      ([id, { match, next, state, lastContactTicks }]) =>
        `${replica.id} sees ${id} ${state} match=${match} next=${next} contact=${lastContactTicks}`,
    );
}
