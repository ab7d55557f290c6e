/**
 * The control plane's hand on this node: says who the node is and what it holds, keeps the newest map, and carries
 * orders out.
 *
 *     register -> known -> beat each second, and soon when something changed -> orders, a newer map
 *         ^---- "unknown": the control plane forgot it, or another one answers
 *
 * If nobody answers, all goes on as it is: the map on the disk serves until there is a newer one. Orders stand under a
 * fence; one that is lower than the highest seen is of a deposed control plane (hazard F10). A higher one is on this
 * node's disk before anything that came under it is carried out. Nor is one obeyed that has issued fewer epochs or plans than
 * this node knows of: its state is older than what happened since.
 */
import { utf8 } from "../base/bytes.ts";
import { messageOf } from "../base/errors.ts";
import { runTask } from "../base/task.ts";
import type { Platform } from "../platform/platform.ts";
import { type ClusterMap, mapProblem, mergeMaps } from "../wire/cluster_map.ts";
import {
  BEAT_MS_MAX,
  compareVersions,
  type Fence,
  type Heard,
  type Heartbeat,
  type HeartbeatReply,
  isFenced,
  type Order,
  type Registration,
} from "../wire/control_plane.ts";
import { type ControlReply, controlRequest } from "../wire/control_request.ts";
import { ShapeError } from "../wire/msgpack.ts";
import { ControlLine } from "./control_line.ts";
import type { NodeAddress } from "./layout.ts";
import { type KeptMap, saveMap } from "./map_file.ts";
import { TICK_MS } from "./timing.ts";

/** What changed is told this soon. */
const NEWS_TICKS = 2;
/**
 * While slots move the map changes several times a second. It is asked for no more often than this, and written down no more
 * often, unless it names others: shards know better who has which slots, and three syncs hold up the log's.
 */
const MAP_TICKS_MIN = 100;
const SAVE_TICKS_MIN = 100;

export type AgentHost = {
  readonly platform: Platform;
  readonly dir: string;
  readonly addresses: readonly Omit<NodeAddress, "id">[];
  /** "" until it is known. */
  cluster(): string;
  registration(heard: Heard): Registration;
  beat(heard: Heard): Heartbeat;
  /** The cluster is known from now on; `done` when the directory says so. */
  joinCluster(cluster: string, done: (error: Error | null) => void): void;
  onMap(map: ClusterMap): void;
  obey(order: Order): void;
};

export class Agent {
  readonly #host: AgentHost;
  readonly #line: ControlLine;
  #kept: KeptMap;
  /** What this disk knows. */
  #lasting: KeptMap;
  #registered = false;
  #asking = false;
  #saving = false;
  /** The map that is not on the disk yet names other nodes, shards or replicas: without it a start would not find them. */
  #isUrgent = false;
  /** Why it could not be saved last: it is tried again and again, and said once. */
  #problem = "";
  #tick = 0;
  #mapAskedTick = -MAP_TICKS_MIN;
  #savedTick = -SAVE_TICKS_MIN;
  #sinceBeat = 0;
  #beatTicks = BEAT_MS_MAX / TICK_MS;
  #news = false;
  /** Why the last registration was refused: said once. */
  #refused = "";
  /** The control plane knows less than this node: said once. */
  #isBehind = false;
  #waiting: { readonly fence: Fence; readonly orders: readonly Order[] } | null = null;

  constructor(kept: KeptMap, host: AgentHost) {
    this.#host = host;
    this.#kept = kept;
    this.#lasting = kept;
    const { net, random } = host.platform;
    this.#line = new ControlLine(host.addresses, { net, random, onUp: () => this.#ask() });
  }

  get isConnected(): boolean {
    return this.#registered && this.#line.isUp;
  }

  get heard(): Heard {
    const { map, epoch, plan, fence } = this.#kept;
    // Orders of a restore may have been obeyed before there was a map of it.
    const obeyed = { restore: fence.restore, index: 0 };
    const version = map === null || compareVersions(map.version, obeyed) < 0 ? obeyed : map.version;
    return { version, epoch, plan };
  }

  /** What a start would find: for checkers. */
  get lasting(): KeptMap {
    return this.#lasting;
  }

  /** Something that the control plane should know soon: a leader, a step of a move. */
  noteNews(): void {
    this.#news = true;
  }

  /** An epoch was seen, in an order or in a shard's log. */
  noteEpoch(epoch: number): void {
    if (epoch <= this.#kept.epoch) return;
    this.#kept = { ...this.#kept, epoch };
    this.#save();
  }

  /** One call of the control plane's HTTP surface by way of this node; null: it could not be reached. */
  http(method: string, path: string, body: Uint8Array, answer: (reply: ControlReply | null) => void): void {
    const known = (["GET", "POST", "PUT", "DELETE", "HEAD"] as const).find((one) => one === method);
    if (known === undefined) return answer(null);
    const request = { kind: "http", method: known, path, body } as const;
    if (controlRequest.decode(request, "call") instanceof ShapeError) return answer(TOO_LARGE);
    this.#line.ask(request, answer);
  }

  tick(): void {
    this.#tick++;
    this.#line.tick();
    if (this.#tick - this.#savedTick >= SAVE_TICKS_MIN) this.#save(); // also when there is nobody to beat to
    this.#sinceBeat++;
    if (this.#sinceBeat < (this.#news ? NEWS_TICKS : this.#beatTicks)) return;
    this.#ask();
  }

  close(): void {
    this.#line.close();
  }

  /** Registers, or beats; one at a time. */
  #ask(): void {
    if (this.#asking || !this.#line.isUp) return;
    this.#asking = true;
    this.#sinceBeat = 0;
    this.#news = false;
    this.#save();
    if (this.#registered) {
      const heartbeat = this.#host.beat(this.heard);
      this.#line.ask({ kind: "beat", heartbeat }, (reply) => this.#onAnswer(reply));
    } else {
      const cluster = this.#host.cluster();
      const registration = this.#host.registration(this.heard);
      const request = { kind: "register", cluster: cluster === "" ? null : cluster, registration } as const;
      this.#line.ask(request, (reply) => this.#onAnswer(reply));
    }
  }

  #onAnswer(reply: ControlReply | null): void {
    this.#asking = false;
    if (reply?.kind === "registered") this.#onRegistered(reply.cluster);
    else if (reply?.kind === "beat") this.#onBeat(reply.reply);
    else if (reply?.kind === "refused") this.#onRefused(reply.text);
  }

  #onRefused(text: string): void {
    this.#registered = false;
    if (text !== this.#refused)
      this.#host.platform.log.write("error", "the control plane refuses this node", { reason: text });
    this.#refused = text;
  }

  #onRegistered(cluster: string): void {
    const { log } = this.#host.platform;
    const begin = (): void => {
      this.#registered = true;
      this.#refused = "";
      log.write("info", "registered", { cluster });
      this.#askMap();
    };
    const own = this.#host.cluster();
    if (own === cluster) return begin();
    if (own !== "") return this.#onRefused(`it is of cluster ${cluster}, this directory of ${own}`);
    this.#asking = true;
    this.#host.joinCluster(cluster, (error) => {
      this.#asking = false;
      if (error === null) begin();
      else log.write("error", "node.json cannot be written", { reason: messageOf(error) });
    });
  }

  #onBeat({ standing, fence, version, issued, beatMs, orders }: HeartbeatReply): void {
    this.#beatTicks = Math.ceil(beatMs / TICK_MS);
    if (standing === "unknown") {
      this.#registered = false;
      return this.#ask();
    }
    if (standing === "stale")
      return this.#onRefused("another directory has taken this node's place, or an operator excluded it");
    if (isFenced(fence, this.#kept.fence) || this.#knowsMoreThan(issued)) return;
    this.#waiting = { fence, orders };
    this.#remember(fence, issued);
    this.#obeyWaiting();
    const { map } = this.#kept;
    const isBlank = map === null || map.shards.length === 0; // nobody is served before there is another one
    const isDue = isBlank || this.#tick - this.#mapAskedTick >= MAP_TICKS_MIN;
    if (isDue && compareVersions(version, map?.version ?? { restore: 0, index: 0 }) > 0) this.#askMap();
  }

  #knowsMoreThan({ epoch, plan }: HeartbeatReply["issued"]): boolean {
    const isBehind = epoch < this.#kept.epoch || plan < this.#kept.plan;
    if (isBehind && !this.#isBehind) {
      const facts = { epoch, plan, knownEpoch: this.#kept.epoch, knownPlan: this.#kept.plan };
      this.#host.platform.log.write("error", "the control plane's state is old: it is not obeyed", facts);
    }
    this.#isBehind = isBehind;
    return isBehind;
  }

  #remember(fence: Fence, { epoch, plan }: HeartbeatReply["issued"]): void {
    const kept = this.#kept;
    if (!isFenced(kept.fence, fence) && epoch === kept.epoch && plan === kept.plan) return;
    this.#kept = { ...kept, fence, epoch, plan };
    this.#save();
  }

  /** What came under a fence waits until the disk knows of it; if that fails, it comes again with the next beat. */
  #obeyWaiting(): void {
    const waiting = this.#waiting;
    if (waiting === null || isFenced(this.#lasting.fence, waiting.fence)) return;
    this.#waiting = null;
    if (isFenced(waiting.fence, this.#kept.fence)) return;
    for (const order of waiting.orders) this.#host.obey(order);
  }

  #askMap(): void {
    this.#mapAskedTick = this.#tick;
    this.#line.ask({ kind: "map" }, (reply) => {
      if (reply?.kind !== "map" || mapProblem(reply.map) !== null) return; // the next beat asks again
      this.#onMap(reply.map);
      this.#ask();
    });
  }

  #onMap(map: ClusterMap): void {
    const { map: now } = this.#kept;
    const merged = now === null ? map : mergeMaps(now, map);
    if (now === null || placesOf(now) !== placesOf(merged)) this.#isUrgent = true;
    this.#kept = { ...this.#kept, map: merged };
    this.#save();
    this.#host.onMap(merged);
  }

  /**
   * Writes down what the disk does not know yet. One write at a time; what changed meanwhile is written after it, and
   * what could not be written is tried again within a second. Nothing is forgotten for that: the fence that was heard counts.
   */
  #save(): void {
    if (this.#saving || this.#kept === this.#lasting) return;
    const isAwaited = isFenced(this.#lasting.fence, this.#kept.fence); // by orders
    if (!isAwaited && !this.#isUrgent && this.#tick - this.#savedTick < SAVE_TICKS_MIN) return; // a tick to come is another occasion
    this.#savedTick = this.#tick;
    this.#saving = true;
    this.#isUrgent = false;
    const { platform, dir } = this.#host;
    const saved = this.#kept;
    runTask(saveMap(platform.disk, dir, saved), (error) => {
      this.#saving = false;
      if (error !== null) return this.#onUnsaved(messageOf(error));
      this.#problem = "";
      this.#lasting = saved;
      this.#obeyWaiting();
      this.#save();
    });
  }

  #onUnsaved(reason: string): void {
    if (reason !== this.#problem)
      this.#host.platform.log.write("error", "the map cannot be written", { reason });
    this.#problem = reason;
    this.#waiting = null; // the orders come again with the next beat
  }
}

/** Who is where, without who leads and which slots are whose. */
function placesOf({ nodes, shards }: ClusterMap): string {
  return JSON.stringify([nodes, shards.map(({ id, group, replicas }) => [id, group, replicas])]);
}

const TOO_LARGE: ControlReply = {
  kind: "http",
  status: 413,
  type: "application/json; charset=utf-8",
  body: utf8(
    `${JSON.stringify({ error: "too_large", message: "a path has at most 2048 bytes, a body 768 KiB" })}\n`,
  ),
};
