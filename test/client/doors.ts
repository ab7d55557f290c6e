/**
 * A shard with several doors in the simulated world: one state machine, the real one, behind nodes that speak the
 * native protocol and misbehave as drawn. There is no consensus here: a command takes effect the moment a door
 * applies it. What the client's promises must survive is all there: lost connections and replies, doors that do
 * not know what became of a command, commands that take effect after everybody gave them up.
 */
import { getU32, utf8, Writer } from "../../src/base/bytes.ts";
import { WIRE_VERSION } from "../../src/base/version.ts";
import { ClientCore } from "../../src/client/core.ts";
import type { Connection, ConnectionEvents, Platform } from "../../src/platform/platform.ts";
import { WALL_START_MS } from "../../src/sim/clock.ts";
import { NET_DEFAULT, type NetKnobs, Network } from "../../src/sim/net.ts";
import { Machine } from "../../src/sim/platform.ts";
import { World } from "../../src/sim/world.ts";
import { KeyValueStore } from "../../src/store/store.ts";
import { helloReply } from "../../src/wire/control.ts";
import { encodeShape } from "../../src/wire/msgpack.ts";
import { NativeFrame, nativeParser, OPCODE, type Opcode, writeNative } from "../../src/wire/native.ts";
import { ReplyEncoder } from "../../src/wire/native_reply.ts";
import { PREAMBLE_BYTES } from "../../src/wire/preamble.ts";
import { batch } from "../store/frames.ts";

const PORT = 7001;
const FATES = [
  "ok",
  "cut_before",
  "cut_after",
  "late",
  "again",
  "uncertain_done",
  "uncertain_not",
  "mute",
  "lost",
] as const;
export type Fate = (typeof FATES)[number];

/** What the doors share. */
export class Shard {
  readonly store = new KeyValueStore({
    memoryBytesMax: 2 ** 40,
    sessionRepliesMax: 4096,
    sessionsMax: 65_536,
  });
  /** How far its clock is ahead of what everybody thinks. */
  aheadMs = 0;
  readonly #world: World;
  readonly #replies = new Writer(1024);
  readonly #encoder = new ReplyEncoder(this.#replies);

  constructor(world: World) {
    this.#world = world;
  }

  get nowMs(): number {
    return WALL_START_MS + this.aheadMs + Math.floor(this.#world.nowUs / 1000);
  }

  apply(frame: Uint8Array): Uint8Array {
    this.#replies.clear();
    const { store } = this;
    const listener = { begin: () => this.#encoder, end() {}, notServed() {} };
    store.apply(store.appliedIndex + 1, 1, batch(this.nowMs, [frame]), listener);
    return this.#replies.copy();
  }
}

export type Rules = {
  /** What becomes of a command; "ok" if absent. */
  fate?(frame: Uint8Array, door: number): Fate;
  /** Microseconds until a command is applied. */
  delayUs?(): number;
  /** What a door says of the leader: its number. */
  leader?(door: number): number;
  term?(): number;
};

/** A cluster of doors and one machine for clients. */
export class Doors {
  readonly world: World;
  readonly net: Network;
  readonly shard: Shard;
  readonly doors: Machine[] = [];
  readonly app: Machine;
  rules: Rules;
  /** Commands that arrived, by door. */
  readonly arrived: number[] = [];

  constructor(seed: number, count: number, rules: Rules = {}, knobs: Partial<NetKnobs> = {}) {
    this.world = new World(seed);
    this.net = new Network(this.world, { ...NET_DEFAULT, ...knobs });
    this.shard = new Shard(this.world);
    this.rules = rules;
    for (let i = 0; i < count; i++) {
      this.arrived.push(0);
      this.doors.push(new Machine(this.world, this.net, i, `n${i + 1}`));
      this.open(i);
    }
    this.app = new Machine(this.world, this.net, count, "app");
  }

  /** Starts door `i`. */
  open(i: number): void {
    (this.doors[i] as Machine).start(({ net }) => {
      net.listen(
        `n${i + 1}`,
        PORT,
        (connection) => {
          connection.events = new DoorConnection(connection, i, this);
        },
        () => {},
      );
    });
  }

  /** Runs `program` with a client, on the clients' machine. */
  client(program: (core: ClientCore, platform: Platform) => void, timeoutMs = 5000): void {
    this.app.start((platform) => {
      const addresses = this.doors.map((_, i) => ({ host: `n${i + 1}`, port: PORT }));
      program(new ClientCore(platform, { addresses, name: "test", version: "1", timeoutMs }), platform);
    });
  }

  hello(door: number): Uint8Array {
    const leader = this.rules.leader?.(door) ?? 0;
    const known = leader >= 0;
    return encodeShape(helloReply, {
      cluster: "ab".repeat(16),
      node: `n${door + 1}`,
      version: "1",
      wireVersion: WIRE_VERSION,
      leaderTimeMs: this.shard.nowMs,
      leaders: known
        ? [
            {
              group: 1,
              term: this.rules.term?.() ?? 1,
              node: `n${leader + 1}`,
              address: `n${leader + 1}:${PORT}`,
            },
          ]
        : [],
      frameBytesMax: 1 << 20,
    });
  }
}

class DoorConnection implements ConnectionEvents {
  readonly #connection: Connection;
  readonly #door: number;
  readonly #doors: Doors;
  readonly #parser = nativeParser("client");
  readonly #frame = new NativeFrame();
  #preamble = PREAMBLE_BYTES;
  #gone = false;
  /** Commands of one connection are applied in their order, unless drawn late. */
  #busyUntilUs = 0;

  constructor(connection: Connection, door: number, doors: Doors) {
    this.#connection = connection;
    this.#door = door;
    this.#doors = doors;
  }

  onOpen(): void {}
  onDrain(): void {}

  onClose(): void {
    this.#gone = true;
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
    if (opcode === OPCODE.hello) this.#answer(OPCODE.helloReply, requestId, this.#doors.hello(this.#door));
    else if (opcode === OPCODE.ping) this.#answer(OPCODE.pong, requestId, this.#frame.body());
    else if (opcode === OPCODE.admin)
      this.#answer(OPCODE.adminReply, requestId, utf8(`{"door":${this.#door}}`));
    else if (opcode !== OPCODE.command) this.#refuse(`a client does not send opcode ${opcode}`);
    else this.#command(requestId, this.#frame.body().slice());
  }

  #command(id: number, frame: Uint8Array): void {
    const { world, rules, shard, arrived } = this.#doors;
    arrived[this.#door] = (arrived[this.#door] as number) + 1;
    const fate = rules.fate?.(frame, this.#door) ?? "ok";
    const delayUs = rules.delayUs?.() ?? 200;
    if (fate === "late") {
      // It got away: it takes effect some time later, whatever happens to this door.
      world.after(delayUs * 50, null, () => shard.apply(frame));
      return this.#cut();
    }
    const dueUs = Math.max(world.nowUs + delayUs, this.#busyUntilUs + 1); // ties are drawn
    this.#busyUntilUs = dueUs;
    this.#after(dueUs - world.nowUs, () => this.#serve(fate, id, frame));
  }

  #after(delayUs: number, run: () => void): void {
    const process = (this.#doors.doors[this.#door] as Machine).process;
    if (process !== null) this.#doors.world.after(delayUs, process, run);
  }

  #serve(fate: Fate, id: number, frame: Uint8Array): void {
    if (this.#gone) return;
    if (fate === "lost") return;
    if (fate === "cut_before") return this.#cut();
    if (fate === "again") return this.#error(id, "CLUSTERDOWN no leader; nothing was done");
    if (fate === "uncertain_not") return this.#error(id, "UNCERTAIN it was sent");
    const reply = this.#doors.shard.apply(frame);
    if (fate === "cut_after") this.#cut();
    else if (fate === "uncertain_done") this.#error(id, "UNCERTAIN it was sent");
    else if (fate === "ok") this.#answer(OPCODE.reply, id, reply);
  }

  /** As servers that know no maps do. */
  #refuse(why: string): void {
    this.#answer(OPCODE.closing, 0, utf8(why));
    this.#gone = true;
    this.#connection.close();
  }

  #cut(): void {
    this.#gone = true;
    this.#connection.destroy();
  }

  #error(id: number, text: string): void {
    const writer = new Writer(64);
    new ReplyEncoder(writer).error(text);
    this.#answer(OPCODE.reply, id, writer.view());
  }

  #answer(opcode: Opcode, id: number, body: Uint8Array): void {
    const writer = new Writer(64 + body.length);
    writeNative(writer, opcode, id, body);
    this.#connection.send(writer.view());
  }
}

/** The text of an error reply, else null. */
export function errorOf(bytes: Uint8Array, start: number): string | null {
  if (bytes[start] !== 2) return null;
  return new TextDecoder().decode(bytes.subarray(start + 5, start + 5 + getU32(bytes, start + 1)));
}
