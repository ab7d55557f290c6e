/**
 * The control plane as nodes and operators meet it: requests in (wire/control_request.ts), replies out. It serves while
 * the replica here leads the control plane's group; all it remembers of a leadership is its reign (reign.ts).
 *
 *     register   refused, or written into the log and answered when that is applied
 *     beat       answered at once: who it is, how new the map is, its orders
 *     map        answered at once, from the applied state
 *     http       service_http.ts
 *
 * Who asks elsewhere is sent to the leader; and so is who asked here when this leadership has ended meanwhile, because
 * what it would say stands under a fence that is not the highest any more.
 */
import { utf8 } from "../base/bytes.ts";
import type { Log, Random } from "../platform/platform.ts";
import type { Hash64 } from "../ring/circle.ts";
import type { Registration } from "../wire/control_plane.ts";
import { type ControlReply, type ControlRequest, HTTP_REPLY_BYTES_MAX } from "../wire/control_request.ts";
import type { Backup } from "./backup.ts";
import type { Body } from "./commands.ts";
import { FirstLayoutWish } from "./first_layout.ts";
import { type HttpAnswer, problem, TRANSIENT } from "./http_answer.ts";
import type { MetaGroup } from "./meta_group.ts";
import { isKnownAs, strangerProblem } from "./node_transitions.ts";
import { Reign } from "./reign.ts";
import type { FirstLayout } from "./requests.ts";
import { RestoreFeed } from "./restore_feed.ts";
import { handleHttp } from "./service_http.ts";
import type { MetaState, Reply, ShardRecord } from "./state.ts";

/**
 * Requests whose command or read is under way. Each waits for one sync on a majority, some milliseconds; a whole cluster
 * that registers at once is 1024 nodes.
 */
const PENDING_MAX = 2048;
/** The first layout is looked at so often. */
const FIRST_LAYOUT_TICKS = 20;

export type ControlHost = {
  readonly group: MetaGroup;
  readonly h64: Hash64;
  readonly random: Random;
  readonly log: Log;
  /** The sealed first entry of a shard's group. */
  readonly bootstrapOf: (shard: ShardRecord) => Uint8Array;
  /** Wished when this process was started; null: somebody will ask for one. */
  readonly firstLayout: FirstLayout | null;
  /** What this process was started with, to be the state of a new control plane; null: nothing. */
  readonly backup: Backup | null;
};

/** What an operator's command came to: a reply, its fate unknown, or too many others under way. */
export type Outcome = Reply | "unknown" | "busy";

export class ControlService {
  readonly #host: ControlHost;
  readonly #first: FirstLayoutWish | null;
  readonly #feed: RestoreFeed | null;
  #said: string | null = null;
  #isMakingFirst = false;
  #reign: Reign | null = null;
  /** The barrier of this reign is asked for. */
  #isAsking = false;
  #tick = 0;
  #pending = 0;
  #isClosed = false;

  constructor(host: ControlHost) {
    this.#host = host;
    this.#first = host.firstLayout === null ? null : new FirstLayoutWish(host.firstLayout);
    this.#feed = host.backup === null ? null : new RestoreFeed(host.backup);
  }

  // ------------------------------------------------------------------------------------------- leadership

  onLeaderChange(): void {
    this.#follow();
  }

  close(): void {
    this.#isClosed = true;
    this.#reign = null;
  }

  /** Every 10 ms. */
  tick(): void {
    this.#tick++;
    const reign = this.#follow();
    if (reign === null) return;
    reign.tick(this.#tick);
    if (this.isRestoring) return this.#restore(reign);
    if (reign.isReady && this.#tick % FIRST_LAYOUT_TICKS === 0) this.#makeFirstLayout(reign);
  }

  #follow(): Reign | null {
    const { group, log } = this.#host;
    if (this.#isClosed || !group.isLeader) {
      if (this.#reign !== null) log.write("info", "does not lead the control plane any more");
      this.#reign = null;
      return null;
    }
    if (this.#reign?.term !== group.term) {
      this.#reign = this.#newReign(group.term);
      this.#isAsking = false;
      log.write("info", "leads the control plane", { term: group.term });
    }
    if (!this.#reign.isReady && !this.#isAsking) this.#ask(this.#reign);
    return this.#reign;
  }

  #newReign(term: number): Reign {
    const { group, bootstrapOf, h64 } = this.#host;
    return new Reign(term, this.#tick, {
      state: () => group.state,
      propose: (body, done) => group.propose({ request: null, body }, () => done()),
      bootstrapOf,
      h64,
      newGroup: () => this.#newGroup(),
    });
  }

  /** What earlier leaders acknowledged is applied here when a read of this term is answered. */
  #ask(reign: Reign): void {
    this.#isAsking = true;
    this.#host.group.read((state) => {
      if (this.#reign !== reign) return;
      this.#isAsking = false;
      reign.isReady = state !== null;
    });
  }

  #newGroup(): number {
    const { random } = this.#host;
    return (random.u32() & 0x1fffff) * 2 ** 32 + random.u32() || 1;
  }

  // ------------------------------------------------------------------------------------------- restore

  /** The state is not yet that of the backup that this process was started with. */
  get isRestoring(): boolean {
    return this.#feed?.isOver(this.#host.group.state) === false;
  }

  /** How far that is; null: nothing is restored here, or it is done. */
  get restoreProgress(): string | null {
    return this.isRestoring ? (this.#feed?.progress(this.#host.group.state) ?? null) : null;
  }

  #restore(reign: Reign): void {
    const part = reign.isReady ? (this.#feed?.step(reign.state) ?? null) : null;
    if (part === null) return;
    this.propose(part, null, (outcome) => {
      const isFinal = typeof outcome !== "string" && !outcome.ok && !isTransient(outcome);
      this.#feed?.onAnswer(isFinal ? outcome.error : null);
      const { log, group } = this.#host;
      if (isFinal) log.write("error", "the backup is not restored", { reason: outcome.error });
      else if (!this.isRestoring)
        log.write("info", "the backup is restored", { waitsFor: (group.state.awaited ?? []).join(" ") });
    });
  }

  /** The leadership that may speak; null: the asker is sent elsewhere. */
  get reign(): Reign | null {
    const reign = this.#follow();
    return reign?.isReady === true && !this.isRestoring ? reign : null;
  }

  get leads(): boolean {
    return this.#reign !== null;
  }

  get term(): number {
    return this.#host.group.term;
  }

  /** As of what is applied here. */
  get cluster(): string {
    return this.#host.group.state.cluster;
  }

  get settings(): MetaState["settings"] {
    return this.#host.group.state.settings;
  }

  /** Who leads, as far as known here; null also while this process leads and cannot speak yet. */
  get leaderAddress(): string | null {
    return this.#host.group.isLeader ? null : this.#host.group.leaderAddress();
  }

  /** What the first layout waits for; null: nothing, or nobody wished one here. */
  get firstLayoutProgress(): string | null {
    return this.#host.group.state.layout === null ? (this.#first?.progress ?? null) : null;
  }

  #makeFirstLayout(reign: Reign): void {
    const first = this.#first;
    if (first === null || this.#isMakingFirst || reign.state.layout !== null) return;
    const init = first.step(reign.planning(), this.#tick);
    const { progress } = first;
    if (progress !== this.#said && init === null) {
      this.#said = progress;
      this.#host.log.write("info", "the first layout is not made yet", { reason: progress });
    }
    if (init === null) return;
    this.#isMakingFirst = true;
    this.propose(init, null, (outcome) => {
      this.#isMakingFirst = false;
      if (typeof outcome === "string") return; // looked at again
      if (outcome.ok) this.#host.log.write("info", "the cluster has its first layout");
      else first.progress = outcome.error;
    });
  }

  // ------------------------------------------------------------------------------------------- requests

  onRequest(request: ControlRequest, reply: (answer: ControlReply) => void): void {
    if (request.kind === "http") {
      const { method, path, body } = request;
      const [name = "", query = ""] = splitOnce(path, "?");
      // The body is borrowed, and some answers come later.
      handleHttp(this, { method, path: name, query, body: body.slice() }, (answer) =>
        reply(httpReply(answer)),
      );
      return;
    }
    const { reign } = this;
    if (reign === null) return reply(this.#elsewhere());
    switch (request.kind) {
      case "register":
        return this.#register(reign, request.cluster, request.registration, reply);
      case "beat":
        return reply({ kind: "beat", reply: reign.hear(request.heartbeat) });
      case "map":
        if (reign.isCounting) return reply({ kind: "refused", text: COUNTING });
        return reply({ kind: "map", map: reign.map() });
    }
  }

  #elsewhere(): ControlReply {
    return { kind: "elsewhere", leader: this.leaderAddress };
  }

  #register(
    reign: Reign,
    cluster: string | null,
    registration: Registration,
    reply: (answer: ControlReply) => void,
  ): void {
    const { state } = reign;
    if (cluster !== null && cluster !== state.cluster) {
      const text = `CONFLICT the directory of node '${registration.node}' belongs to cluster ${cluster}, and this is ${state.cluster}: give it an empty one with --dir, or another --control`;
      return reply({ kind: "refused", text });
    }
    const strange = strangerProblem(state, registration);
    if (strange !== null) reign.noteStranger(registration.node);
    const problem = strange ?? reign.liveness.registrationProblem(state, registration, this.#tick);
    if (problem !== null) return reply({ kind: "refused", text: problem });
    const registered = (): ControlReply =>
      this.#reign === reign && this.reign !== null
        ? { kind: "registered", cluster: state.cluster, fence: reign.fence }
        : this.#elsewhere();
    // A node that starts again says what is known: nothing for the log.
    if (isKnownAs(state, registration)) return reply(registered());
    this.propose({ kind: "register", registration }, null, (outcome) => {
      if (typeof outcome === "string" || isTransient(outcome)) return reply(this.#elsewhere());
      reply(outcome.ok ? registered() : { kind: "refused", text: outcome.error });
    });
  }

  /** Puts a command into the log. `request` names it: sent twice, it is carried out once. */
  propose(body: Body, request: string | null, done: (outcome: Outcome) => void): void {
    if (this.#pending >= PENDING_MAX) return done("busy");
    this.#pending++;
    this.#host.group.propose({ request, body }, (reply) => {
      this.#pending--;
      done(reply ?? "unknown");
    });
  }

  /** The state with all that was acknowledged before; null: this process does not lead, or not any more. */
  read(done: (state: MetaState | null) => void): void {
    if (this.reign === null || this.#pending >= PENDING_MAX) return done(null);
    this.#pending++;
    this.#host.group.read((state) => {
      this.#pending--;
      done(state);
    });
  }
}

const COUNTING = "TRYAGAIN the control plane was restored, and has not heard all nodes yet";

/** The log could not take it now; it was not written, and asking again may help. */
function isTransient(reply: Reply): boolean {
  return !reply.ok && TRANSIENT.has(reply.error.split(" ", 1)[0] ?? "");
}

const TOO_LARGE = problem(503, "toolarge", "the answer is larger than a frame may be: ask at the HTTP port");

function httpReply(answer: HttpAnswer): ControlReply {
  const body = utf8(answer.text);
  const { status, type, text } = body.length <= HTTP_REPLY_BYTES_MAX ? answer : TOO_LARGE;
  return { kind: "http", status, type, body: text === answer.text ? body : utf8(text) };
}

function splitOnce(text: string, at: string): [string, string?] {
  const place = text.indexOf(at);
  return place < 0 ? [text] : [text.slice(0, place), text.slice(place + at.length)];
}
