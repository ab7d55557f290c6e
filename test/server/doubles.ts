/** Small doubles of what surrounds a part of the server: a connection, a door's host, an origin that remembers. */
import { fromUtf8, utf8 } from "../../src/base/bytes.ts";
import type { Clock, Connection, ConnectionEvents, Random } from "../../src/platform/platform.ts";
import type { Bundle, Origin } from "../../src/server/bundle.ts";
import type { Client, ClientHost, RedisMode } from "../../src/server/client.ts";
import { ClusterDoor } from "../../src/server/cluster_commands.ts";
import { ClusterView } from "../../src/server/cluster_view.ts";
import type { NodeInfo } from "../../src/server/info.ts";
import type { Lane } from "../../src/server/lane.ts";
import { Routing } from "../../src/server/routing.ts";
import type { ClusterMap } from "../../src/wire/cluster_map.ts";
import { CommandView } from "../../src/wire/command.ts";
import type { NotServed } from "../../src/wire/peer_encode.ts";
import type { ReplySink } from "../../src/wire/reply.ts";
import { mapOf } from "./maps.ts";

/** A connection whose other side reads when the test says so. */
export class FakeConnection implements Connection {
  readonly remote = "test:1";
  events: ConnectionEvents = { onOpen() {}, onData() {}, onDrain() {}, onClose() {} };
  /** Everything that was sent, in order; copied, since senders reuse their buffers once nothing is queued. */
  readonly sent: Uint8Array[] = [];
  /** What was sent and not read: borrowed, as the sender promised to leave it alone. */
  queue: Uint8Array[] = [];
  /** The other side takes everything at once. */
  reads = true;
  paused = false;
  closed = false;
  destroyed = false;

  send(bytes: Uint8Array): boolean {
    if (this.reads) this.sent.push(bytes.slice());
    else this.queue.push(bytes);
    return true;
  }

  /** The other side reads what is queued. */
  drain(): void {
    for (const bytes of this.queue) this.sent.push(bytes.slice());
    this.queue = [];
  }

  get text(): string {
    return this.sent.map((bytes) => fromUtf8(bytes)).join("");
  }

  queuedBytes(): number {
    return this.queue.reduce((sum, { length }) => sum + length, 0);
  }

  pause(): void {
    this.paused = true;
  }

  resume(): void {
    this.paused = false;
  }

  close(): void {
    this.closed = true;
  }

  destroy(): void {
    this.destroyed = true;
  }
}

export const clock: Clock = {
  monotonicMs: () => 0,
  cpuMs: () => 0,
  wallMs: () => 0,
  ticks: () => () => {},
  turn: () => {},
};

export const random: Random = { u32: () => 7, fill: (bytes) => void bytes.fill(7) };

const info: NodeInfo = {
  address: "test:1",
  isLeader: () => true,
  json: () => "{}",
  helloReply: () => new Uint8Array(0),
  sections: () => [],
};

/** Of n1 among three nodes; the shards' leaders are n2 and n3 (routing_world.ts). */
export function fakeCluster(map: ClusterMap | null = mapOf()): FakeCluster {
  const routing = new Routing({
    random,
    node: "n1",
    clockTicks: () => 0,
    wallMs: () => 0,
    syncing: () => false,
    canForward: () => false,
    isSilent: () => false,
    sendForward: () => {},
    leaderNode: () => null,
    wake: () => {},
  });
  if (map !== null) routing.setMap(map);
  return new FakeCluster(routing, new ClusterView(routing), map?.cluster ?? "");
}

class FakeCluster extends ClusterDoor {
  readonly routing: Routing;

  constructor(routing: Routing, view: ClusterView, cluster: string) {
    super(view, "n1", () => cluster);
    this.routing = routing;
  }
}

export type Admitted = {
  readonly op: number;
  readonly words: readonly string[];
  readonly origin: Origin;
  readonly tag: number;
  readonly mark: number;
};

/** No follower is here. */
export const NO_READS = { followerFor: () => null, readHere: () => {} };

/** A door's host that takes commands, or does not, and remembers those it took. */
export class FakeHost implements ClientHost {
  redisMode: RedisMode = "proxy";
  cluster = fakeCluster();
  readonly clock = clock;
  readonly random = random;
  readonly info = info;
  readonly reads = NO_READS;
  open = true;
  readonly admitted: Admitted[] = [];
  readonly waiting: Client[] = [];
  readonly draining = new Set<Client>();
  readonly touched = new Set<Client>();
  readonly gone: Client[] = [];

  moveLeader(): string | null {
    return null;
  }

  control(_call: unknown, answer: (reply: string) => void): void {
    answer("ERR no control plane here");
  }

  replaceNode(): string | null {
    return null;
  }

  clients(): Iterable<Client> {
    return [];
  }

  admit(view: CommandView, _frameAt: number, lane: Lane, origin: Origin, tag: number): boolean {
    if (!this.open) return false;
    const words = Array.from({ length: view.argCount }, (_, i) => fromUtf8(view.arg(i)));
    this.admitted.push({ op: view.op, words, origin, tag, mark: lane.enter(0, false) });
    return true;
  }

  touch(client: Client): void {
    this.touched.add(client);
  }

  waitForRoom(client: Client): void {
    this.waiting.push(client);
  }

  waitForDrain(client: Client): void {
    this.draining.add(client);
  }

  onGone(client: Client): void {
    this.gone.push(client);
  }

  tick(): void {
    const draining = [...this.draining];
    this.draining.clear();
    for (const client of draining) client.retry();
  }

  /** The end of a turn. */
  turn(): void {
    for (const client of this.waiting.splice(0)) client.retry();
    const touched = [...this.touched];
    this.touched.clear();
    for (const client of touched) client.flush();
  }
}

/** Collects replies as text, by tag. */
export class FakeOrigin implements Origin {
  readonly name: string;
  readonly replies = new Map<number, string>();
  readonly marks = new Map<number, number>();
  /** True: a node that forwarded, and looks for the leader itself. */
  takesBack = false;
  readonly takenBack: number[] = [];
  readonly refusals: NotServed[] = [];
  /** Their fate is open, and it finds out by itself. */
  readonly left: number[] = [];
  room = true;
  undone = 0;
  #text = "";

  constructor(name = "origin") {
    this.name = name;
  }

  begin(): ReplySink {
    this.#text = "";
    return {
      nil: () => this.#say("(nil)"),
      simple: (text) => this.#say(text),
      error: (text) => this.#say(`-${text}`),
      integer: (value) => this.#say(String(value)),
      blob: (bytes, start, end) => this.#say(fromUtf8(bytes.subarray(start, end))),
      array: (count) => this.#say(`*${count}`),
      map: (count) => this.#say(`%${count}`),
    };
  }

  #say(text: string): void {
    this.#text = this.#text === "" ? text : `${this.#text} ${text}`;
  }

  undo(): void {
    this.undone++;
  }

  end(tag: number, mark: number): void {
    if (this.replies.has(tag)) throw new Error(`${this.name}: ${tag} was answered twice`);
    this.replies.set(tag, this.#text);
    this.marks.set(tag, mark);
  }

  fail(tag: number, mark: number, text: string): void {
    this.begin().error(text);
    this.end(tag, mark);
  }

  hasRoom(): boolean {
    return this.room;
  }

  takeBack(tag: number, untouched: boolean, refusal?: NotServed): boolean {
    if (this.takesBack && refusal !== undefined) this.refusals.push(refusal);
    if (this.takesBack) (untouched ? this.takenBack : this.left).push(tag);
    return this.takesBack;
  }
}

/** RESP bytes of some commands. */
export function resp(...commands: readonly (readonly string[])[]): Uint8Array {
  const parts = commands.map(
    (words) => `*${words.length}\r\n${words.map((w) => `$${utf8(w).length}\r\n${w}\r\n`).join("")}`,
  );
  return utf8(parts.join(""));
}

/** The tags of what is in a bundle. */
export function tagsOf(bundle: Bundle): number[] {
  return [...bundle.tags];
}

/** The frames of a bundle, as op and words. */
export function framesOf(bundle: Bundle): { op: number; words: string[]; session: boolean }[] {
  const view = new CommandView();
  return bundle.tags.map((_, i) => {
    const bad = view.read(bundle.writer.bytes, bundle.start(i), bundle.endOf(i));
    if (bad !== null) throw new Error(bad);
    const words = Array.from({ length: view.argCount }, (_, k) => fromUtf8(view.arg(k)));
    return { op: view.op, words, session: view.hasSession };
  });
}
