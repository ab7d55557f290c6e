/**
 * Several shards behind several nodes in the simulated world: scripted servers that speak the native protocol, hand
 * out a map, forward to whoever leads, and misbehave as told. There is no consensus: a command takes effect the moment
 * its shard applies it. A shard is a model of design sections 7 and 8: lists of tokens, sessions, slots that it serves;
 * moving a slot carries its keys, its replies, and everybody's floors.
 */
import { fromUtf8, utf8, Writer } from "../../src/base/bytes.ts";
import { WIRE_VERSION } from "../../src/base/version.ts";
import { ClientCore } from "../../src/client/core.ts";
import type { Connection, ConnectionEvents, Platform } from "../../src/platform/platform.ts";
import { slotOf } from "../../src/ring/slot.ts";
import { WALL_START_MS } from "../../src/sim/clock.ts";
import { NET_DEFAULT, type NetKnobs, Network } from "../../src/sim/net.ts";
import { Machine } from "../../src/sim/platform.ts";
import { World } from "../../src/sim/world.ts";
import { type ClusterMap, clusterMap } from "../../src/wire/cluster_map.ts";
import { CommandView, OP } from "../../src/wire/command.ts";
import { keyArgument, keyCount } from "../../src/wire/command_keys.ts";
import { helloReply } from "../../src/wire/control.ts";
import { encodeShape } from "../../src/wire/msgpack.ts";
import { NativeFrame, nativeParser, OPCODE, type Opcode, writeNative } from "../../src/wire/native.ts";
import { ReplyEncoder } from "../../src/wire/native_reply.ts";
import { PREAMBLE_BYTES } from "../../src/wire/preamble.ts";

const PORT = 7001;
/** One command as it arrived: where, what, under which numbers. */
export type Arrival = {
  readonly node: number;
  readonly op: number;
  readonly keys: readonly string[];
  readonly slot: number;
  readonly client: string;
  readonly seq: number;
  readonly floor: number;
  readonly after: number;
};

/** cut: the connection breaks, before or after. late: it does, and the command takes effect much later. */
export type TownFate =
  | "ok"
  | "cut_before"
  | "cut_after"
  | "late"
  | "moved"
  | "again"
  | "uncertain_done"
  | "uncertain_not"
  | "mute"
  | "lost";

type Client = { floor: number; readonly replies: Map<number, { slot: number; reply: Uint8Array }> };

export class ModelShard {
  readonly values = new Map<string, string>();
  readonly clients = new Map<string, Client>();
  readonly slots = new Set<number>();
  /** Executions by client and number: never two. */
  readonly executed = new Map<string, number>();
  /** It answers nobody until then. */
  stuckUntilUs = 0;

  client(id: string): Client {
    const known = this.clients.get(id);
    if (known !== undefined) return known;
    const client: Client = { floor: 0, replies: new Map() };
    this.clients.set(id, client);
    return client;
  }

  raise(id: string, floor: number): void {
    const client = this.client(id);
    client.floor = Math.max(client.floor, floor);
    for (const seq of client.replies.keys()) if (seq < client.floor) client.replies.delete(seq);
  }

  /** Design section 7, "Apply, in this order". */
  apply(view: CommandView, arrival: Arrival): Uint8Array {
    if (!view.hasSession) return this.execute(view, arrival);
    const { client: id, seq, floor, after, slot } = arrival;
    const client = this.client(id);
    if (seq < Math.max(floor, client.floor)) return errorReply("STALE not executed now: below the floor");
    const known = client.replies.get(seq);
    if (known !== undefined) return known.reply;
    if (after !== 0 && after >= Math.max(floor, client.floor) && !client.replies.has(after))
      return errorReply("TRYAGAIN an earlier write of the slot is missing");
    this.raise(id, floor);
    const reply = this.execute(view, arrival);
    client.replies.set(seq, { slot, reply });
    return reply;
  }

  execute(view: CommandView, { client, seq, keys }: Arrival): Uint8Array {
    if (seq > 0) {
      const name = `${client} ${seq}`;
      this.executed.set(name, (this.executed.get(name) ?? 0) + 1);
    }
    const writer = new Writer(64);
    const to = new ReplyEncoder(writer);
    const put = (value: string | undefined): void => {
      const bytes = utf8(value ?? "");
      if (value === undefined) to.nil();
      else to.blob(bytes, 0, bytes.length);
    };
    const key = keys[0] as string;
    const named = view.op === OP.del ? [...new Set(keys)] : keys;
    const held = named.filter((each) => this.values.has(each)).length;
    if (view.op === OP.get) put(this.values.get(key));
    else if (view.op === OP.append) {
      this.values.set(key, `${this.values.get(key) ?? ""}${fromUtf8(view.arg(1))}`);
      to.integer(1);
    } else if (view.op === OP.mget) {
      to.array(keys.length);
      for (const each of keys) put(this.values.get(each));
    } else if (view.op === OP.mset) {
      for (const [i, each] of keys.entries()) this.values.set(each, fromUtf8(view.arg(2 * i + 1)));
      to.simple("OK");
    } else {
      if (view.op === OP.del) for (const each of keys) this.values.delete(each);
      to.integer(held);
    }
    return writer.copy();
  }

  /** Gives slots away, with all that belongs to them. */
  giveTo(other: ModelShard, slots: ReadonlySet<number>): void {
    for (const [key, value] of this.values) {
      if (!slots.has(slotOfText(key))) continue;
      other.values.set(key, value);
      this.values.delete(key);
    }
    for (const [id, client] of this.clients) {
      other.raise(id, client.floor);
      for (const [seq, kept] of client.replies)
        if (slots.has(kept.slot) && seq >= other.client(id).floor) other.client(id).replies.set(seq, kept);
    }
    for (const slot of slots) {
      this.slots.delete(slot);
      other.slots.add(slot);
    }
  }
}

export function slotOfText(key: string): number {
  const bytes = utf8(key);
  return slotOf(bytes, 0, bytes.length);
}

function errorReply(text: string): Uint8Array {
  const writer = new Writer(64);
  new ReplyEncoder(writer).error(text);
  return writer.copy();
}

export type TownRules = {
  fate?(arrival: Arrival): TownFate;
  /** Microseconds from a node to the shard's leader and back into effect. */
  delayUs?(): number;
  /** refuse: closes the connection over it; ignore: says nothing. */
  maps?: "tell" | "refuse" | "ignore";
};

/** The shard that serves `slot` at first: equal parts, in order. */
export function bornIn(slot: number, shards: number): number {
  return Math.floor((slot * shards) / 16_384);
}

/** Nodes n1.. and shards s1..; shard i is led by node i at first. */
export class Town {
  readonly world: World;
  readonly net: Network;
  readonly shards: ModelShard[] = [];
  readonly nodes: Machine[] = [];
  readonly app: Machine;
  readonly leaders: { node: number; term: number }[] = [];
  readonly arrivals: Arrival[] = [];
  readonly doors = new Set<TownDoor>();
  rules: TownRules;
  mapAsks = 0;
  cluster = "ab".repeat(16);
  readonly #nodeCount: number;
  #version = 1;
  /** What each node tells: it may be behind. */
  readonly told: ClusterMap[] = [];

  constructor(
    seed: number,
    nodes: number,
    shards: number,
    rules: TownRules = {},
    knobs: Partial<NetKnobs> = {},
  ) {
    this.world = new World(seed);
    this.net = new Network(this.world, { ...NET_DEFAULT, ...knobs });
    this.rules = rules;
    this.#nodeCount = nodes;
    for (let i = 0; i < shards; i++) {
      const shard = new ModelShard();
      for (let slot = 0; slot < 16_384; slot++) if (bornIn(slot, shards) === i) shard.slots.add(slot);
      this.shards.push(shard);
      this.leaders.push({ node: i % nodes, term: 1 });
    }
    for (let i = 0; i < nodes; i++) {
      this.nodes.push(new Machine(this.world, this.net, i, `n${i + 1}`));
      this.told.push(this.map());
      this.open(i);
    }
    this.app = new Machine(this.world, this.net, nodes, "app");
  }

  /** The truth as a map. */
  map(): ClusterMap {
    const nodes = Array.from({ length: this.#nodeCount }, (_, i) => ({
      id: `n${i + 1}`,
      address: `n${i + 1}:${PORT}`,
      http: `n${i + 1}:80`,
      zone: "",
    }));
    const ranges: [number, number, number, number][] = [];
    for (let slot = 0; slot < 16_384; slot++) {
      const shard = this.shards.findIndex(({ slots }) => slots.has(slot));
      const last = ranges.at(-1);
      if (last !== undefined && last[2] === shard) last[1] = slot;
      else ranges.push([slot, slot, shard, 1]);
    }
    return {
      cluster: this.cluster,
      version: { restore: 0, index: this.#version },
      nodes,
      shards: this.leaders.map((leader, i) => ({
        id: `s${i + 1}`,
        group: i + 1,
        weight: 1,
        replicas: nodes.map((_, place) => place),
        leader: { ...leader },
      })),
      ranges,
    };
  }

  /** Moves slots at once; nodes tell of it when `publish` says so. */
  move(slots: Iterable<number>, to: number): void {
    const target = this.shards[to] as ModelShard;
    const all = [...slots];
    for (const shard of this.shards) {
      const given = new Set(all.filter((slot) => shard.slots.has(slot)));
      if (shard !== target && given.size > 0) shard.giveTo(target, given);
    }
    this.#version++;
  }

  lead(shard: number, node: number): void {
    const { term } = this.leaders[shard] as { term: number };
    this.leaders[shard] = { node, term: term + 1 };
  }

  /** These nodes learn the truth, and push it to who asked. */
  publish(nodes: readonly number[] = this.nodes.map((_, i) => i)): void {
    const map = this.map();
    for (const node of nodes) {
      this.told[node] = map;
      for (const door of this.doors) if (door.node === node && door.asked) door.tell(map);
    }
  }

  open(i: number): void {
    (this.nodes[i] as Machine).start(({ net }) => {
      const accept = (connection: Connection): void => {
        connection.events = new TownDoor(connection, i, this);
      };
      net.listen(`n${i + 1}`, PORT, accept, () => {});
    });
  }

  /** Runs `program` with a client that knows all nodes, on the clients' machine. */
  client(program: (core: ClientCore, platform: Platform) => void, timeoutMs = 5000): void {
    this.app.start((platform) => {
      const addresses = this.nodes.map((_, i) => ({ host: `n${i + 1}`, port: PORT }));
      program(new ClientCore(platform, { addresses, name: "test", version: "1", timeoutMs }), platform);
    });
  }

  run(ms: number): void {
    this.world.run(this.world.nowUs + ms * 1000);
    if (this.world.violation !== null) throw this.world.violation;
  }

  /** The shard that serves `slot` now. */
  shardOf(slot: number): number {
    return this.shards.findIndex(({ slots }) => slots.has(slot));
  }
}

export class TownDoor implements ConnectionEvents {
  readonly node: number;
  asked = false;
  readonly #connection: Connection;
  readonly #town: Town;
  readonly #parser = nativeParser("client");
  readonly #frame = new NativeFrame();
  readonly #view = new CommandView();
  #preamble = PREAMBLE_BYTES;
  #gone = false;
  /** By slot: commands of one connection and slot take effect in their order. */
  readonly #busyUntilUs = new Map<number, number>();

  constructor(connection: Connection, node: number, town: Town) {
    this.#connection = connection;
    this.node = node;
    this.#town = town;
    town.doors.add(this);
  }

  onOpen(): void {}
  onDrain(): void {}

  onClose(): void {
    this.#gone = true;
    this.#town.doors.delete(this);
  }

  onData(bytes: Uint8Array): void {
    const skip = Math.min(this.#preamble, bytes.length);
    this.#preamble -= skip;
    this.#parser.feed(bytes.subarray(skip));
    while (!this.#gone && this.#parser.next() === "frame") {
      const bad = this.#frame.read(this.#parser.bytes, this.#parser.start, this.#parser.end);
      if (bad !== null) throw new Error(`the client sent a malformed frame: ${bad}`);
      this.#take();
    }
  }

  #take(): void {
    const { opcode, requestId } = this.#frame;
    const { maps = "tell" } = this.#town.rules;
    if (opcode === OPCODE.hello) this.#send(OPCODE.helloReply, requestId, this.#hello());
    else if (opcode === OPCODE.ping) this.#send(OPCODE.pong, requestId, this.#frame.body());
    else if (opcode === OPCODE.command) this.#command(requestId, this.#frame.body().slice());
    else if (opcode === OPCODE.map && maps === "tell") {
      this.#town.mapAsks++;
      this.asked = true;
      this.tell(this.#town.told[this.node] as ClusterMap, requestId);
    } else if (opcode !== OPCODE.map || maps === "refuse") {
      this.#send(OPCODE.closing, 0, utf8(`a client does not send opcode ${opcode}`));
      this.#gone = true;
      this.#connection.close();
    }
  }

  tell(map: ClusterMap, requestId = 0): void {
    this.#send(OPCODE.mapReply, requestId, encodeShape(clusterMap, map));
  }

  close(): void {
    this.#cut();
  }

  sendRaw(opcode: Opcode, body: Uint8Array): void {
    this.#send(opcode, 0, body);
  }

  #hello(): Uint8Array {
    const map = this.#town.told[this.node] as ClusterMap;
    const leaders = map.shards.flatMap(({ group, leader }) =>
      leader === null
        ? []
        : [{ group, term: leader.term, node: `n${leader.node + 1}`, address: `n${leader.node + 1}:${PORT}` }],
    );
    return encodeShape(helloReply, {
      cluster: this.#town.cluster,
      node: `n${this.node + 1}`,
      version: "1",
      wireVersion: WIRE_VERSION,
      leaderTimeMs: WALL_START_MS + Math.floor(this.#town.world.nowUs / 1000),
      leaders,
      frameBytesMax: 1 << 20,
    });
  }

  #read(frame: Uint8Array): Arrival {
    const view = this.#view;
    if (view.read(frame, 0, frame.length) !== null) throw new Error("the client sent a malformed command");
    const keys = Array.from({ length: keyCount(view) }, (_, n) =>
      fromUtf8(view.arg(keyArgument(view.op, n))),
    );
    const slot = keys.length === 0 ? -1 : slotOfText(keys[0] as string);
    const none = { client: "", seq: 0, floor: 0, after: 0 };
    if (!view.hasSession) return { node: this.node, op: view.op, keys, slot, ...none };
    const { client, seq, floor, after } = view.session();
    return {
      node: this.node,
      op: view.op,
      keys,
      slot,
      client: Buffer.from(client).toString("hex"),
      seq,
      floor,
      after,
    };
  }

  #command(id: number, frame: Uint8Array): void {
    const { world, rules, arrivals, leaders } = this.#town;
    const arrival = this.#read(frame);
    arrivals.push(arrival);
    const fate = rules.fate?.(arrival) ?? "ok";
    const hopUs = rules.delayUs?.() ?? 200;
    const isDirect = leaders[this.#town.shardOf(Math.max(arrival.slot, 0))]?.node === this.node;
    const delayUs = isDirect ? hopUs : 3 * hopUs;
    if (fate === "late") {
      world.after(delayUs * 50, null, () => this.#apply(frame, arrival));
      return this.#cut();
    }
    const dueUs = Math.max(world.nowUs + delayUs, (this.#busyUntilUs.get(arrival.slot) ?? 0) + 1); // ties are drawn
    this.#busyUntilUs.set(arrival.slot, dueUs);
    this.#after(dueUs - world.nowUs, () => this.#serve(fate, id, frame, arrival));
  }

  #after(delayUs: number, run: () => void): void {
    const { process } = this.#town.nodes[this.node] as Machine;
    if (process !== null) this.#town.world.after(delayUs, process, run);
  }

  #serve(fate: TownFate, id: number, frame: Uint8Array, arrival: Arrival): void {
    if (this.#gone || fate === "lost") return;
    const { world, shards } = this.#town;
    const shard = shards[this.#town.shardOf(Math.max(arrival.slot, 0))] as ModelShard;
    if (shard.stuckUntilUs > world.nowUs) {
      // The node keeps the command for a while, as it would during an election.
      const waitUs = Math.min(shard.stuckUntilUs - world.nowUs, 2_500_000);
      if (waitUs < 2_500_000) return this.#after(waitUs, () => this.#serve(fate, id, frame, arrival));
      return this.#after(waitUs, () => this.#error(id, "CLUSTERDOWN no leader; nothing was done"));
    }
    if (fate === "cut_before") return this.#cut();
    if (fate === "moved") return this.#error(id, `MOVED ${arrival.slot} n1:${PORT}`);
    if (fate === "again") return this.#error(id, "CLUSTERDOWN no leader; nothing was done");
    if (fate === "uncertain_not") return this.#error(id, "UNCERTAIN it was sent");
    const reply = this.#apply(frame, arrival);
    if (fate === "cut_after") this.#cut();
    else if (fate === "uncertain_done") this.#error(id, "UNCERTAIN it was sent");
    else if (fate === "ok") this.#send(OPCODE.reply, id, reply);
  }

  /** The shard that serves the slot by now executes it; reads of several shards are gathered. */
  #apply(frame: Uint8Array, arrival: Arrival): Uint8Array {
    const { shards } = this.#town;
    const view = this.#view;
    view.read(frame, 0, frame.length);
    const places = new Set(arrival.keys.map((key) => this.#town.shardOf(slotOfText(key))));
    const [place = 0] = places;
    if (places.size <= 1) return (shards[place] as ModelShard).apply(view, arrival);
    const all = new ModelShard();
    for (const shard of shards) for (const [key, value] of shard.values) all.values.set(key, value);
    if (view.isWrite) throw new Error("a write over several shards is the client's to split");
    return all.execute(view, arrival);
  }

  #cut(): void {
    this.#gone = true;
    this.#town.doors.delete(this);
    this.#connection.destroy();
  }

  #error(id: number, text: string): void {
    this.#send(OPCODE.reply, id, errorReply(text));
  }

  #send(opcode: Opcode, id: number, body: Uint8Array): void {
    if (this.#gone) return;
    const writer = new Writer(64 + body.length);
    writeNative(writer, opcode, id, body);
    this.#connection.send(writer.view());
  }
}
