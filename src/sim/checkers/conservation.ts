/**
 * What a shard gives away is what the other one gets (hazards F4-F6): the slots as they were when the source sealed them,
 * and as the target has them the moment it owns them.
 *
 *     records    every key with its value, revision and deadline, and no other; expired ones may be gone
 *     replies    every remembered reply of these slots, unless its client's floor or time has passed it
 *     clients    floors and times that are not below those of the source
 *     clocks     log time and revision of the target are not below those of the source
 *
 * Slots that were never sealed may be taken only if their shard is lost, and then there is nothing in them (losses.ts), and
 * the revision is not below that of the shard.
 */
import { toHex } from "../../base/bytes.ts";
import { ENTRY_KIND, type Entry } from "../../raft/types.ts";
import { slotsOfRanges } from "../../ring/range.ts";
import type { GroupReplica } from "../../server/group.ts";
import { KeyValueStore } from "../../store/store.ts";
import { ChunkRows, ChunkWriter, type MoveNote, ROW, readChunk } from "../../wire/move_entry.ts";
import type { SimNode } from "../cluster.ts";
import type { Losses } from "../losses.ts";
import type { World } from "../world.ts";
import type { Checker } from "./checker.ts";
import { stepOf } from "./ownership.ts";

type Client = { readonly floor: number; readonly notAfter: number };
/** What slots hold, in text that can be compared and shown. */
type Content = {
  readonly records: Map<string, { readonly text: string; readonly deadline: number }>;
  readonly clients: Map<string, Client>;
  /** By "client/seq". */
  readonly replies: Map<string, string>;
  readonly logTimeMs: number;
  readonly revision: number;
};

const CHUNK_BYTES = 1 << 20;

export class ConservationChecker implements Checker {
  readonly name = "conservation";
  judged = 0;
  /** Records and replies that were compared. */
  records = 0;
  replies = 0;
  readonly #world: World;
  readonly #losses: Losses;
  /** The highest index that was applied, by group. */
  readonly #highest = new Map<number, number>();
  /** The revision of its newest state, by group. */
  readonly #revisions = new Map<number, number>();
  /** The highest of those that a lost shard gave out. */
  #lostRevision = 0;
  /** What was sealed, by epoch; null once it is owned. */
  readonly #given = new Map<number, Content | null>();

  constructor(world: World, losses: Losses) {
    this.#world = world;
    this.#losses = losses;
  }

  /** The group can never act again. */
  onShardLost(group: number): void {
    this.#lostRevision = Math.max(this.#lostRevision, this.#revisions.get(group) ?? 0);
  }

  onApplied(node: SimNode, { group, store }: GroupReplica, entry: Entry): void {
    if (!(store instanceof KeyValueStore) || entry.index <= (this.#highest.get(group) ?? 0)) return;
    this.#highest.set(group, entry.index);
    this.#revisions.set(group, store.revision);
    if (entry.kind !== ENTRY_KIND.move || store.lastMoveRefusal !== null) return;
    const step = stepOf(entry);
    if (step === null) return;
    const move = store.move(step.epoch);
    if (move === null) return;
    const given = this.#given.get(step.epoch);
    if (given === null) return; // a step that comes again changes nothing
    if (step.kind === "seal" && given === undefined)
      this.#given.set(step.epoch, contentOf(store, move.slots));
    if (step.kind !== "own") return;
    this.#given.set(step.epoch, null);
    const slots = [...slotsOfRanges(move.slots)];
    if (given === undefined && slots.every((slot) => this.#losses.isSilent(slot)))
      this.#takenBlank(step.epoch, slots, contentOf(store, move.slots));
    else if (given === undefined)
      this.#world.fail("conservation", `${node.id}: epoch ${step.epoch} is owned and was never sealed`);
    else {
      this.#compare(step.epoch, given, contentOf(store, move.slots));
      for (const slot of slots) this.#losses.save(slot); // the source may be lost: nothing of this is
    }
  }

  #takenBlank(epoch: number, slots: readonly number[], { records, revision }: Content): void {
    this.judged++;
    if (revision < this.#lostRevision)
      this.#world.fail(
        "conservation",
        `epoch ${epoch}: who takes slots of a lost shard is at revision ${revision}, and that was at ${this.#lostRevision}`,
      );
    for (const slot of slots) this.#losses.takeBlank(slot);
    // Replies may be there: of when the taker had these slots itself.
    const [key] = records.keys();
    if (key === undefined) return;
    this.#world.fail(
      "conservation",
      `epoch ${epoch}: slots of a lost shard were taken as empty, with ${key}`,
    );
  }

  #compare(epoch: number, given: Content, got: Content): void {
    this.judged++;
    const fail = (text: string): void => this.#world.fail("conservation", `epoch ${epoch}: ${text}`);
    if (got.logTimeMs < given.logTimeMs) fail(`log time fell from ${given.logTimeMs} to ${got.logTimeMs}`);
    if (got.revision < given.revision) fail(`the revision fell from ${given.revision} to ${got.revision}`);
    for (const [key, { text, deadline }] of given.records) {
      this.records++;
      const found = got.records.get(key);
      const isExpired = deadline > 0 && deadline <= got.logTimeMs;
      if (found === undefined ? !isExpired : found.text !== text)
        fail(`${key} was ${text}, and is ${found?.text ?? "gone"}`);
    }
    for (const key of got.records.keys()) if (!given.records.has(key)) fail(`${key} was not there before`);
    for (const [id, { floor, notAfter }] of given.clients) {
      const found = got.clients.get(id);
      const isOver = notAfter < got.logTimeMs;
      if (found === undefined ? !isOver : found.floor < floor || found.notAfter < notAfter)
        fail(`client ${id} had floor ${floor} until ${notAfter}, and has ${JSON.stringify(found)}`);
    }
    for (const [name, reply] of given.replies) {
      this.replies++;
      const [id = "", seq = ""] = name.split("/");
      const client = got.clients.get(id);
      if (client === undefined || Number(seq) < client.floor) continue; // judged above
      if (got.replies.get(name) !== reply)
        fail(`the reply of ${name} was ${reply}, and is ${got.replies.get(name) ?? "gone"}`);
    }
  }
}

function contentOf(store: KeyValueStore, slots: MoveNote["slots"]): Content {
  const content: Content = {
    records: new Map(),
    clients: new Map(),
    replies: new Map(),
    logTimeMs: store.logTimeMs,
    revision: store.revision,
  };
  const copy = store.peekCopy(slots);
  const writer = new ChunkWriter();
  for (let number = 0; !copy.isDone; number++) {
    writer.begin({ epoch: 1, term: 1, n: 0, number });
    copy.fill(writer, CHUNK_BYTES);
    const chunk = readChunk(writer.end());
    if (chunk === null) break;
    const rows = new ChunkRows(chunk.rows, chunk.header.rows);
    while (rows.next()) take(content, rows);
  }
  return content;
}

function take({ records, clients, replies }: Content, row: ChunkRows): void {
  const client = toHex(row.client);
  if (row.kind === ROW.record) {
    const text = `${toHex(row.value)} at revision ${row.revision} until ${row.deadline}`;
    records.set(textOf(row.key), { text, deadline: row.deadline });
  } else if (row.kind === ROW.client) {
    clients.set(client, { floor: row.floor, notAfter: row.notAfter });
  } else if (row.kind === ROW.reply) {
    replies.set(`${client}/${row.seq}`, row.isKept ? toHex(row.value) : "done");
  }
}

function textOf(key: Uint8Array): string {
  return String.fromCharCode(...key);
}
