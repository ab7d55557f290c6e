/**
 * All other nodes: the core's messages out and in, forwarded commands out and in, notes.
 *
 * Each pair of nodes has a connection for every class, so that a heap of forwarded commands never delays a
 * heartbeat (hazard H9). Heartbeats of one turn to one node travel in one frame. Messages for a node that cannot
 * be reached are dropped: the core sends again what matters.
 *
 * Where a replica is, its node says in its hello; that it is the one that promised what stands under its id, this
 * node's own memory says (known_peers.ts). Both must hold before a replica is sent anything or listened to.
 */
import type { Connection, ConnectionEvents, Platform } from "../platform/platform.ts";
import type { Entry, Heartbeat, HeartbeatReply, Message, ReplicaId } from "../raft/types.ts";
import type { GroupId } from "../wal/types.ts";
import { BATCH_HEADER_BYTES } from "../wire/batch.ts";
import { type PeerHello, type PeerNote, peerNote } from "../wire/control.ts";
import { decodeShape, encodeShape, ShapeError } from "../wire/msgpack.ts";
import { PeerParser } from "../wire/peer.ts";
import { decodePeerFrame, type ForwardReply, type PeerFrame } from "../wire/peer_decode.ts";
import type { GroupMessage, SnapshotAck, SnapshotChunk } from "../wire/peer_encode.ts";
import type { Bundle } from "./bundle.ts";
import { ForwardServer } from "./forward_server.ts";
import type { KnownPeers, Standing } from "./known_peers.ts";
import type { Layout } from "./layout.ts";
import { helloProblem, PeerLink } from "./peer_link.ts";
import type { Router } from "./router.ts";

/** What a node may ask for a forwarded command; it answers by itself after its own deadline (router.ts). */
const FORWARD_DEADLINE_MS = 2500;
/** The classes without heartbeats say something this often, so that a dead connection is noticed. */
const PING_TICKS = 100;
/** A caller that calls itself a node and does not say which for this long is dropped. */
const HELLO_TICKS_MAX = 500;
/** Three to each of 15 nodes, and as many again that are being replaced; the oldest makes room. */
const CALLERS_MAX = 96;

/** Reasons that were said already; what others say of themselves must not fill the memory. */
const REASONS_MAX = 64;

export type PeersHost = {
  /** What this node holds now. */
  held(): PeerHello["held"];
  /** `wallMs` is the sender's wall clock if its kind of message carries one, else -1. */
  onMessage(group: GroupId, message: Message, wallMs: number): void;
  onChunk(chunk: SnapshotChunk): void;
  onAck(ack: SnapshotAck): void;
  onNote(node: string, note: PeerNote): void;
  /** Null: this node holds no replica of that group now. */
  routerOf(group: GroupId): Router | null;
  /** False: it is malformed. */
  onForwardReply(row: ForwardReply): boolean;
  /** The connection for forwarded commands to that node is gone. */
  onForwardDown(node: string): void;
  wake(): void;
};

/** What is known of one group on another node that can be reached. */
export type NodeHolding = {
  readonly incarnation: string;
  /** The replica it says it holds; 0: none. */
  readonly replica: ReplicaId;
  readonly quarantined: boolean;
  /** Of that replica; null if there is none. */
  readonly standing: Standing | null;
};

type Beats = { out: GroupMessage<Heartbeat>[]; back: GroupMessage<HeartbeatReply>[] };

/** Where a replica is, and the directory there that speaks for it. */
type Route = { readonly remote: Remote; readonly incarnation: string };

type Remote = {
  readonly control: PeerLink;
  readonly forward: PeerLink;
  readonly bulk: PeerLink;
  server: ForwardServer;
  readonly beats: Beats;
};

export class Peers {
  readonly #platform: Platform;
  readonly #host: PeersHost;
  readonly #cluster: string;
  readonly #node: string;
  readonly #remotes = new Map<string, Remote>();
  /** Where each sound replica is, and can be reached. */
  readonly #routes = new Map<GroupId, Map<ReplicaId, Route>>();
  #ticks = 0;

  readonly #known: KnownPeers;

  constructor(
    platform: Platform,
    node: string,
    incarnation: string,
    layout: Layout,
    known: KnownPeers,
    host: PeersHost,
  ) {
    this.#known = known;
    this.#platform = platform;
    this.#host = host;
    this.#cluster = layout.cluster;
    this.#node = node;
    known.onLasting = () => this.#reroute();
    for (const peer of layout.nodes) {
      if (peer.id === node) continue;
      const linkHost = {
        platform,
        cluster: layout.cluster,
        node,
        incarnation,
        held: () => host.held(),
        onFrame: (link: PeerLink, frame: PeerFrame) => this.#onFrame(link, frame),
        onUp: (link: PeerLink) => this.#onUp(link),
        onDown: (link: PeerLink) => this.#onDown(link),
      };
      const forward = new PeerLink(peer, "forward", linkHost);
      this.#remotes.set(peer.id, {
        control: new PeerLink(peer, "control", linkHost),
        forward,
        bulk: new PeerLink(peer, "bulk", linkHost),
        server: new ForwardServer(forward, host),
        beats: { out: [], back: [] },
      });
    }
  }

  dialAll(): void {
    for (const { control, forward, bulk } of this.#remotes.values()) {
      control.dial();
      forward.dial();
      bulk.dial();
    }
  }

  // ------------------------------------------------------------------------------------------- who is where

  #remoteOf(group: GroupId, replica: ReplicaId): Remote | undefined {
    return this.#routes.get(group)?.get(replica)?.remote;
  }

  /** The node that says it holds a replica; null if none that can be reached does. */
  nodeOf(group: GroupId, replica: ReplicaId): string | null {
    return this.#remoteOf(group, replica)?.control.peer.id ?? null;
  }

  /** What the other nodes that can be reached hold of a group. */
  holdings(group: GroupId): ReadonlyMap<string, NodeHolding> {
    const holdings = new Map<string, NodeHolding>();
    for (const [node, { control }] of this.#remotes) {
      if (control.hello !== null) holdings.set(node, this.#holding(control.hello, group));
    }
    return holdings;
  }

  #holding({ incarnation, held }: PeerHello, group: GroupId): NodeHolding {
    const claim = held.find((one) => one.group === group);
    if (claim === undefined) return { incarnation, replica: 0, quarantined: false, standing: null };
    const { replica, quarantined } = claim;
    const standing = this.#known.standing(group, replica, incarnation);
    return { incarnation, replica, quarantined, standing };
  }

  #reroute(): void {
    this.#routes.clear();
    for (const remote of this.#remotes.values()) {
      const newest = remote.control.hello?.incarnation;
      for (const { hello } of [remote.control, remote.forward, remote.bulk]) {
        // A connection to a directory that is gone may stand for a while after another one took its place.
        if (hello !== null && hello.incarnation === (newest ?? hello.incarnation))
          this.#addRoutes(remote, hello);
      }
    }
    this.#host.wake();
  }

  #addRoutes(remote: Remote, { incarnation, held }: PeerHello): void {
    for (const { group, replica, quarantined } of held) {
      if (quarantined || this.#known.standing(group, replica, incarnation) !== "sound") continue;
      const routes = this.#routes.get(group) ?? new Map<ReplicaId, Route>();
      routes.set(replica, { remote, incarnation });
      this.#routes.set(group, routes);
    }
  }

  /** What this node holds is another now: it greets everyone anew. */
  greetAgain(): void {
    for (const { control, forward, bulk } of this.#remotes.values()) {
      for (const link of [control, forward, bulk]) link.drop("this node holds another replica now", "info");
    }
  }

  sendNote(node: string, note: PeerNote): void {
    const control = this.#remotes.get(node)?.control;
    if (control?.isOpen === true) control.encoder.control(encodeShape(peerNote, note));
  }

  tellAll(note: PeerNote): void {
    for (const node of this.#remotes.keys()) this.sendNote(node, note);
  }

  // ------------------------------------------------------------------------------------------- out

  send(group: GroupId, message: Message, entries: readonly Entry[]): void {
    const remote = this.#remoteOf(group, message.to);
    if (remote === undefined || !remote.control.isOpen) return;
    const { encoder } = remote.control;
    switch (message.kind) {
      case "heartbeat":
        remote.beats.out.push({ group, message });
        return;
      case "heartbeat_reply":
        remote.beats.back.push({ group, message });
        return;
      case "append": {
        let bytes = 0;
        for (const entry of entries) bytes += entry.bytes.length;
        encoder.appendHead(group, message, bytes);
        for (const entry of entries) encoder.writer.raw(entry.bytes);
        return;
      }
      case "snapshot":
        return; // never sent as a message: the driver streams it
      default:
        encoder.single(group, message, this.#platform.clock.wallMs());
    }
  }

  canForward(node: string): boolean {
    return this.#remotes.get(node)?.forward.isOpen ?? false;
  }

  sendForward(
    node: string,
    group: GroupId,
    request: number,
    rides: boolean,
    resumes: boolean,
    bundle: Bundle,
  ): void {
    const remote = this.#remotes.get(node) as Remote;
    const head = { request, group, deadlineMs: FORWARD_DEADLINE_MS, count: bundle.count, rides, resumes };
    remote.forward.encoder.forwardRequest(
      head,
      bundle.writer.bytes,
      BATCH_HEADER_BYTES,
      bundle.writer.length,
    );
  }

  /** False: no connection, or it is full. */
  sendChunk(chunk: SnapshotChunk): boolean {
    const remote = this.#remoteOf(chunk.group, chunk.to);
    if (remote === undefined || !remote.bulk.isOpen) return false;
    remote.bulk.encoder.snapshotChunk(chunk);
    remote.bulk.flush();
    return true;
  }

  sendSnapshotAck(ack: SnapshotAck): void {
    const remote = this.#remoteOf(ack.group, ack.to);
    if (remote === undefined || !remote.bulk.isUp) return;
    remote.bulk.encoder.snapshotAck(ack);
    remote.bulk.flush();
  }

  /** One write to each peer that has something to hear. */
  flush(): void {
    for (const { control, forward, bulk, server, beats } of this.#remotes.values()) {
      if (control.isUp) {
        if (beats.out.length > 0) control.encoder.heartbeats(beats.out);
        if (beats.back.length > 0)
          control.encoder.heartbeatReplies(this.#platform.clock.wallMs(), beats.back);
      }
      if (beats.out.length > 0) beats.out = [];
      if (beats.back.length > 0) beats.back = [];
      if (forward.isUp) server.endFrame();
      control.flush();
      forward.flush();
      bulk.flush();
    }
  }

  // ------------------------------------------------------------------------------------------- in

  #onFrame(link: PeerLink, frame: PeerFrame): void {
    switch (frame.kind) {
      case "message":
        this.#deliver(link, frame, carriesClock(frame.message) ? frame.wallMs : -1);
        return;
      case "heartbeats":
        for (const row of frame.rows) this.#deliver(link, row, -1);
        return;
      case "heartbeat_replies":
        for (const row of frame.rows) this.#deliver(link, row, frame.wallMs);
        return;
      case "forward_request": {
        const remote = this.#remotes.get(link.peer.id) as Remote;
        if (!remote.server.onRequest(frame.request)) link.drop("a forwarded command is malformed");
        this.#host.wake();
        return;
      }
      case "forward_replies":
        for (const row of frame.rows) {
          if (!this.#host.onForwardReply(row)) return link.drop("a forwarded reply is malformed");
        }
        this.#host.wake();
        return;
      case "snapshot_chunk":
        if (this.#speaksFor(link, frame.chunk.group, frame.chunk.from)) this.#host.onChunk(frame.chunk);
        return;
      case "snapshot_ack":
        if (this.#speaksFor(link, frame.ack.group, frame.ack.from)) this.#host.onAck(frame.ack);
        return;
      case "control":
        return this.#onControl(link, frame.bytes);
      default:
        link.drop(`unexpected frame: ${frame.kind}`);
    }
  }

  #onControl(link: PeerLink, bytes: Uint8Array): void {
    if (bytes.length === PING.length && bytes[0] === PING[0]) return;
    const note = decodeShape(peerNote, bytes, "note");
    if (note instanceof ShapeError) link.drop(note.reason);
    else this.#host.onNote(link.peer.id, note);
  }

  /** Each node speaks for its own replicas; one that is not sound (yet) is not listened to. */
  #deliver(link: PeerLink, { group, message }: GroupMessage<Message>, wallMs: number): void {
    const { from } = message;
    if (this.#speaksFor(link, group, from)) this.#host.onMessage(group, message, wallMs);
    else if (link.hello?.held.every((one) => one.group !== group || one.replica !== from) ?? true)
      link.drop(`it speaks for replica ${from}, which is not there`);
  }

  #speaksFor(link: PeerLink, group: GroupId, replica: ReplicaId): boolean {
    const route = this.#routes.get(group)?.get(replica);
    return route?.remote.control.peer.id === link.peer.id && route.incarnation === link.hello?.incarnation;
  }

  #onUp(link: PeerLink): void {
    const remote = this.#remotes.get(link.peer.id) as Remote;
    if (link.kind === "forward") remote.server = new ForwardServer(link, this.#host);
    if (link.kind === "control") this.#sayForeign(link);
    this.#reroute();
  }

  /** Said once a connection: what it promised under this id may be forgotten there. */
  #sayForeign({ peer, hello }: PeerLink): void {
    for (const { group, replica } of hello?.held ?? []) {
      if (hello === null || this.#known.standing(group, replica, hello.incarnation) !== "foreign") continue;
      const reason =
        `${peer.id} came back with another data directory (incarnation ${hello.incarnation}): ` +
        `it must not vote as its former self, replica ${replica}`;
      this.#platform.log.write("warn", "peer refused", { peer: peer.id, reason });
    }
  }

  #onDown(link: PeerLink): void {
    if (link.kind === "forward") {
      const remote = this.#remotes.get(link.peer.id) as Remote;
      remote.server.onDown();
      this.#host.onForwardDown(link.peer.id);
    }
    this.#reroute();
  }

  /** A connection whose caller says that it is a node; `bytes` came behind the preamble. */
  accept(connection: Connection, bytes: Uint8Array): void {
    const caller = new Caller(connection, (parser, frame) => this.#onCaller(connection, parser, frame));
    if (this.#callers.size >= CALLERS_MAX) this.#dropOldest();
    this.#callers.add(caller);
    connection.events = caller;
    if (bytes.length > 0) caller.onData(bytes);
  }

  #dropOldest(): void {
    for (const oldest of this.#callers) {
      this.#callers.delete(oldest);
      if (!oldest.done) oldest.connection.destroy();
      return;
    }
  }

  /** Why callers were refused: said once. */
  readonly #refused = new Set<string>();
  /** Oldest first. */
  readonly #callers = new Set<Caller>();

  #onCaller(connection: Connection, parser: PeerParser, frame: PeerFrame): void {
    const refuse = (reason: string): void => {
      if (!this.#refused.has(reason)) {
        if (this.#refused.size >= REASONS_MAX) this.#refused.clear();
        this.#refused.add(reason); // it dials again and again
        this.#platform.log.write("warn", "peer refused", { remote: connection.remote, reason });
      }
      connection.destroy();
    };
    if (frame.kind !== "hello") return refuse("it did not say hello");
    const { hello } = frame;
    const remote = this.#remotes.get(hello.node);
    if (remote === undefined) return refuse(`node ${hello.node} is not in the layout`);
    const problem = helloProblem(hello, this.#cluster, hello.node, hello.class);
    if (problem !== null) return refuse(problem);
    if (hello.node > this.#node) return refuse("this side dials that connection");
    remote[hello.class].adopt(connection, parser, hello);
  }

  tick(): void {
    this.#ticks++;
    const ping = this.#ticks % PING_TICKS === 0;
    for (const { control, forward, bulk } of this.#remotes.values()) {
      for (const link of [control, forward, bulk]) {
        link.tick();
        if (ping && link.isOpen) link.encoder.control(PING);
      }
    }
    for (const caller of this.#callers) {
      if (caller.done || caller.ticks++ > HELLO_TICKS_MAX) {
        if (!caller.done) caller.connection.destroy();
        this.#callers.delete(caller);
      }
    }
  }

  close(): void {
    for (const { control, forward, bulk } of this.#remotes.values()) {
      for (const link of [control, forward, bulk]) link.close();
    }
    for (const caller of this.#callers) caller.connection.destroy();
  }
}

/** A MessagePack nil: says only that somebody is there. */
const PING = Uint8Array.of(0xc0);

/** Pre-votes are of no term yet, so what they say is not "heard this term". */
function carriesClock(message: Message): boolean {
  return message.kind === "vote_reply";
}

/** Someone who dialled as a node and has not said which one yet. */
class Caller implements ConnectionEvents {
  readonly connection: Connection;
  readonly #parser = new PeerParser();
  readonly #onHello: (parser: PeerParser, frame: PeerFrame) => void;
  done = false;
  ticks = 0;

  constructor(connection: Connection, onHello: (parser: PeerParser, frame: PeerFrame) => void) {
    this.connection = connection;
    this.#onHello = onHello;
  }

  onOpen(): void {}
  onDrain(): void {}

  onClose(): void {
    this.done = true;
  }

  onData(bytes: Uint8Array): void {
    if (this.done) return;
    const parser = this.#parser;
    parser.feed(bytes);
    const event = parser.next();
    if (event === "more") return;
    this.done = true;
    const frame = event === "error" ? parser.error : decodePeerFrame(parser);
    if (typeof frame === "string") this.connection.destroy();
    else this.#onHello(parser, frame);
  }
}
