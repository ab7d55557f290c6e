/**
 * All other nodes: the core's messages out and in, forwarded commands out and in, notes.
 *
 * Each pair of nodes has a connection for every class, so that a heap of forwarded commands never delays a
 * heartbeat (hazard H9). Heartbeats of one turn to one node travel in one frame. Messages for a node that cannot
 * be reached are dropped: the core sends again what matters. Where replicas are: whereabouts.ts.
 */
import type { Connection, Platform } from "../platform/platform.ts";
import type { Entry, Heartbeat, HeartbeatReply, Message, ReplicaId } from "../raft/types.ts";
import type { GroupId } from "../wal/types.ts";
import { BATCH_HEADER_BYTES } from "../wire/batch.ts";
import { type PeerHello, type PeerNote, peerNote } from "../wire/control.ts";
import type { MoveMessage } from "../wire/move_message.ts";
import { decodeShape, encodeShape, ShapeError } from "../wire/msgpack.ts";
import type { PeerParser } from "../wire/peer.ts";
import type { ForwardReply, PeerFrame } from "../wire/peer_decode.ts";
import type { GroupMessage, SnapshotAck, SnapshotChunk } from "../wire/peer_encode.ts";
import type { Bundle } from "./bundle.ts";
import { ForwardServer } from "./forward_server.ts";
import type { KnownPeers } from "./known_peers.ts";
import type { NodeAddress } from "./layout.ts";
import { PeerCallers } from "./peer_callers.ts";
import { helloProblem, type PeerIdentity, PeerLink } from "./peer_link.ts";
import { Pulses } from "./pulses.ts";
import type { Router } from "./router.ts";
import type { Timing } from "./timing.ts";
import { type Held, type NodeHolding, Whereabouts } from "./whereabouts.ts";

/** What a node may ask for a forwarded command; it answers by itself after its own deadline (router.ts). */
const FORWARD_DEADLINE_MS = 2500;
/** Every connection says something this often, so that a dead one is noticed (peer_link.ts). */
const PING_TICKS = 100;

export type PeersHost = {
  /** What this node holds now. */
  held(): PeerHello["held"];
  /** `wallMs` is the sender's wall clock if its kind of message carries one, else -1. */
  onMessage(group: GroupId, message: Message, wallMs: number): void;
  onChunk(chunk: SnapshotChunk): void;
  onAck(ack: SnapshotAck): void;
  /** `note` is not about what the node holds: that is known here. */
  onNote(node: string, note: PeerNote): void;
  /** Null: this node holds no replica of that group now. */
  routerOf(group: GroupId): Router | null;
  /** False: it is malformed. */
  onForwardReply(row: ForwardReply): boolean;
  /** The connection for forwarded commands to that node is gone. */
  onForwardDown(node: string): void;
  /** That node was not heard for too long to share rests (raft/rest.ts). */
  onSilent(node: string): void;
  /** That node ended the connection over which its leaders speak, as it does when its process ends. */
  onLost(node: string): void;
  /** The replicas on that node became reachable for rests, or are so no more; null: on any node. */
  onRoutes(node: string | null): void;
  wake(): void;
};

type Beats = { out: GroupMessage<Heartbeat>[]; back: GroupMessage<HeartbeatReply>[] };

type Remote = {
  readonly control: PeerLink;
  readonly forward: PeerLink;
  readonly bulk: PeerLink;
  readonly links: readonly PeerLink[];
  server: ForwardServer;
  readonly beats: Beats;
  /** It was told what this node holds. */
  isTold: boolean;
};

export class Peers {
  readonly #platform: Platform;
  readonly #host: PeersHost;
  readonly #self: PeerIdentity;
  readonly #remotes = new Map<string, Remote>();
  readonly #where: Whereabouts;
  #ticks = 0;

  readonly #known: KnownPeers;
  readonly #callers: PeerCallers;
  readonly pulses: Pulses;
  readonly #silenceTicksMax: number;

  constructor(platform: Platform, self: PeerIdentity, known: KnownPeers, timing: Timing, host: PeersHost) {
    this.#known = known;
    this.#where = new Whereabouts(known);
    this.#silenceTicksMax = timing.silenceTicksMax;
    this.pulses = new Pulses(timing);
    this.#platform = platform;
    this.#host = host;
    this.#self = self;
    known.onLasting = () => this.#rerouteRests(null);
    this.#callers = new PeerCallers(platform.log, (...caller) => this.#adopt(...caller));
  }

  /** It was not known before; nobody was dialled. */
  setCluster(cluster: string): void {
    this.#self.cluster = cluster;
  }

  /** These are the other nodes now, and where they are. Connections to those that are the same stand. */
  setNodes(nodes: readonly NodeAddress[]): void {
    for (const [id, { control, links }] of this.#remotes) {
      const next = nodes.find((node) => node.id === id);
      const { host, port } = control.peer;
      if (next !== undefined && next.host === host && next.port === port) continue;
      for (const link of links) link.drop("the node is elsewhere now, or gone", "info");
      this.#remotes.delete(id); // only now: whoever waits for that node was told
      this.pulses.forget(id);
      this.#where.forget(id);
    }
    for (const peer of nodes) {
      if (peer.id === this.#self.node || this.#remotes.has(peer.id)) continue;
      this.#addRemote(peer);
    }
    this.#reroute();
  }

  #addRemote(peer: NodeAddress): void {
    const linkHost = {
      platform: this.#platform,
      self: this.#self,
      held: (link: PeerLink) => this.#heldFor(link),
      onFrame: (link: PeerLink, frame: PeerFrame) => this.#onFrame(link, frame),
      onUp: (link: PeerLink) => this.#onUp(link),
      onDown: (link: PeerLink, byPeer: boolean) => this.#onDown(link, byPeer),
    };
    const control = new PeerLink(peer, "control", linkHost);
    const forward = new PeerLink(peer, "forward", linkHost);
    const bulk = new PeerLink(peer, "bulk", linkHost);
    this.#remotes.set(peer.id, {
      control,
      forward,
      bulk,
      links: [control, forward, bulk],
      server: new ForwardServer(forward, this.#host),
      beats: { out: [], back: [] },
      isTold: true,
    });
    for (const link of [control, forward, bulk]) link.dial();
  }

  // ------------------------------------------------------------------------------------------- who is where

  #remoteOf(group: GroupId, replica: ReplicaId): Remote | undefined {
    const node = this.#where.nodeOf(group, replica);
    return node === null ? undefined : this.#remotes.get(node);
  }

  /** The node that says it holds a replica; null if none that can be reached does. */
  nodeOf(group: GroupId, replica: ReplicaId): string | null {
    return this.#where.nodeOf(group, replica);
  }

  /** What the other nodes that can be reached hold of a group. */
  holdings(group: GroupId): ReadonlyMap<string, NodeHolding> {
    const holdings = new Map<string, NodeHolding>();
    for (const [node, { control }] of this.#remotes) {
      const holding = control.isUp ? this.#where.holding(node, group) : null;
      if (holding !== null) holdings.set(node, holding);
    }
    return holdings;
  }

  /** What a node says of itself counts while any of its connections stands. */
  #reroute(): void {
    for (const [node, { links }] of this.#remotes)
      if (links.every(({ isUp }) => !isUp)) this.#where.forget(node);
    this.#where.reroute();
    this.#host.wake();
  }

  /**
   * Rests live by the control connection alone: it carries what ends them, and pulses. So groups are roused when it comes or
   * goes, or when who speaks over it may be another, and sleep on when forwarded commands or snapshots are interrupted.
   */
  #rerouteRests(node: string | null): void {
    this.#reroute();
    this.#host.onRoutes(node);
  }

  /**
   * Whether a replica can share a rest (raft/types.ts `RestOptions`). Every change to and from "away" goes through
   * `#rerouteRests`: without a control connection it is "away", whatever else comes and goes.
   */
  restOf(group: GroupId, replica: ReplicaId): "can" | "cannot" | "away" {
    const control = this.#remoteOf(group, replica)?.control;
    if (control === undefined || !control.isUp) return "away";
    return control.knowsRests && this.pulses.isHeard(control.peer.id) ? "can" : "cannot";
  }

  /**
   * What this node holds is another now: everyone is told, at the end of the turn, or when the connection takes it. One
   * that was greeted before, and has not greeted back yet, is told then: its greeting was of what was held before.
   */
  heldChanged(): void {
    for (const remote of this.#remotes.values()) remote.isTold = false;
  }

  /** For a greeting; over the control connection it is all that its node needs to hear. */
  #heldFor(link: PeerLink): PeerHello["held"] {
    const remote = this.#remotes.get(link.peer.id);
    if (remote?.control === link) remote.isTold = true;
    return this.#host.held();
  }

  #tellHeld(): void {
    let note: Uint8Array | null = null;
    for (const remote of this.#remotes.values()) {
      if (remote.isTold || !remote.control.isOpen) continue;
      remote.isTold = true;
      note ??= encodeShape(peerNote, { kind: "held", held: this.#host.held() });
      remote.control.encoder.control(note);
    }
  }

  sendNote(node: string, note: PeerNote): void {
    const control = this.#remotes.get(node)?.control;
    if (control?.isOpen === true) control.encoder.control(encodeShape(peerNote, note));
  }

  tellAll(note: PeerNote): void {
    for (const node of this.#remotes.keys()) this.sendNote(node, note);
  }

  /** A message of a move; false: no connection, or it is full. */
  sendMove(node: string, move: MoveMessage): boolean {
    const bulk = this.#remotes.get(node)?.bulk;
    if (bulk?.isOpen !== true) return false;
    bulk.encoder.control(encodeShape(peerNote, { kind: "move", move }));
    return true;
  }

  /** What one side of a move said in this turn leaves in one write: then it goes into one batch of syncs there. */
  flushMoves(): void {
    for (const { bulk } of this.#remotes.values()) bulk.flush();
  }

  // ------------------------------------------------------------------------------------------- out

  send(group: GroupId, message: Message, entries: readonly Entry[]): void {
    const remote = this.#remoteOf(group, message.to);
    if (remote === undefined || !remote.control.isUp) return;
    // These also when the peer does not read: what ends a rest must come through, or the connection end. It is cut after 3 s,
    // so they are a few MiB with a thousand groups.
    if (message.kind === "heartbeat") return void remote.beats.out.push({ group, message });
    if (message.kind === "heartbeat_reply") return void remote.beats.back.push({ group, message });
    if (!remote.control.isOpen) return;
    const { encoder } = remote.control;
    switch (message.kind) {
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

  /**
   * Nothing comes from that node any more, over no connection, though each would bring pulses or more by now if it were well:
   * its process may have been stopped, or its cables cut. Pulses alone do not tell: they may stand behind many appends.
   */
  isSilent(node: string): boolean {
    const remote = this.#remotes.get(node);
    if (remote === undefined || !remote.control.isUp || !remote.control.knowsRests) return false;
    return remote.links.every(({ isUp, silentTicks }) => !isUp || silentTicks >= this.#silenceTicksMax);
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
    this.#tellHeld();
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
      case "pulse":
        return this.#onPulse(link, frame.wallMs);
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

  #onPulse(link: PeerLink, wallMs: number): void {
    if (link.kind !== "control") return link.drop("a pulse on another connection than control");
    this.pulses.hear(link.peer.id, { wallMs, atMs: this.#platform.clock.monotonicMs() });
  }

  #onControl(link: PeerLink, bytes: Uint8Array): void {
    if (bytes.length === PING.length && bytes[0] === PING[0]) return;
    const note = decodeShape(peerNote, bytes, "note");
    if (note instanceof ShapeError) link.drop(note.reason);
    else if (note.kind === "held") this.#onHeld(link, note.held);
    else this.#host.onNote(link.peer.id, note);
  }

  #onHeld(link: PeerLink, held: readonly Held[]): void {
    if (link.hello === null || link.kind !== "control") return;
    this.#where.hear(link.peer.id, link.hello.incarnation, held);
    this.#sayForeign(link.peer.id);
    this.#rerouteRests(link.peer.id);
  }

  /** Each node speaks for its own replicas; one that is not sound (yet) is not listened to. */
  #deliver(link: PeerLink, { group, message }: GroupMessage<Message>, wallMs: number): void {
    const { from } = message;
    if (this.#speaksFor(link, group, from)) this.#host.onMessage(group, message, wallMs);
    else if (!this.#where.claims(link.peer.id, group, from))
      link.drop(`it speaks for replica ${from} of group ${group}, which is not there`);
  }

  #speaksFor(link: PeerLink, group: GroupId, replica: ReplicaId): boolean {
    return this.#where.speaksFor(link.peer.id, link.hello?.incarnation, group, replica);
  }

  #onUp(link: PeerLink): void {
    const remote = this.#remotes.get(link.peer.id) as Remote;
    const { hello, kind, peer } = link;
    if (kind === "forward") remote.server = new ForwardServer(link, this.#host);
    // A connection to a directory that is gone may stand for a while after another one took its place: what is said
    // over the control connection counts, and before there is one, whatever was said last.
    const isNews = !this.#where.isHeard(peer.id) || kind === "control" || !remote.control.isUp;
    if (hello !== null && isNews) this.#where.hear(peer.id, hello.incarnation, hello.held);
    if (kind !== "control") return this.#reroute();
    this.#sayForeign(peer.id);
    this.#rerouteRests(peer.id);
  }

  /** Said once a connection: what it promised under this id may be forgotten there. */
  #sayForeign(peer: string): void {
    for (const { incarnation, replica } of this.#where.foreignAt(peer)) {
      const reason =
        `${peer} came back with another data directory (incarnation ${incarnation}): ` +
        `it must not vote as its former self, replica ${replica}`;
      this.#platform.log.write("warn", "peer refused", { peer, reason });
    }
  }

  #onDown(link: PeerLink, byPeer: boolean): void {
    const remote = this.#remotes.get(link.peer.id);
    if (link.kind === "forward" && remote !== undefined) {
      remote.server.onDown();
      this.#host.onForwardDown(link.peer.id);
    }
    if (link.kind !== "control") return this.#reroute();
    this.#rerouteRests(link.peer.id);
    if (byPeer) this.#host.onLost(link.peer.id);
  }

  /** A connection whose caller says that it is a node; `bytes` came behind the preamble. */
  accept(connection: Connection, bytes: Uint8Array): void {
    this.#callers.accept(connection, bytes);
  }

  /** Somebody who dialled said who it is; why it is refused, or null. */
  #adopt(connection: Connection, parser: PeerParser, hello: PeerHello): string | null {
    const remote = this.#remotes.get(hello.node);
    if (remote === undefined) return `node ${hello.node} is not known here`;
    const problem = helloProblem(hello, this.#self.cluster, hello.node, hello.class);
    if (problem !== null) return problem;
    if (hello.node > this.#self.node) return "this side dials that connection";
    remote[hello.class].adopt(connection, parser, hello);
    return null;
  }

  tick(): void {
    this.#ticks++;
    const ping = this.#ticks % PING_TICKS === 0;
    const pulse = this.pulses.tick((node) => this.#host.onSilent(node));
    for (const { links, control } of this.#remotes.values()) {
      if (pulse && control.isUp && control.knowsRests) control.encoder.pulse(this.#platform.clock.wallMs());
      for (const link of links) {
        link.tick();
        if (ping && link.isOpen) link.encoder.control(PING);
      }
    }
    this.#callers.tick();
    if (ping) this.#known.retry();
  }

  close(): void {
    for (const { links } of this.#remotes.values()) for (const link of links) link.close();
    this.#callers.close();
  }
}

/** A MessagePack nil: says only that somebody is there. */
const PING = Uint8Array.of(0xc0);

/** Pre-votes are of no term yet, so what they say is not "heard this term". */
function carriesClock(message: Message): boolean {
  return message.kind === "vote_reply";
}
