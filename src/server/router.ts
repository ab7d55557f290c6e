/**
 * The router of one group on one node: takes checked commands from the doors and brings each to where it can take
 * effect - this node's replica if it leads, else the leader's node - and keeps it until it is answered.
 *
 *     door --admit--> reads / writes (open bundles) --flush, once a turn--> group.read, group.propose   (leader here)
 *                                                                       --> forwarder                   (leader there)
 *                                                                       --> stay parked                 (no leader)
 *
 * With a replica here, its consensus core says who leads; without one, others do (leader_search.ts).
 *
 * What the caller is told is true of the command, not of one attempt: "CLUSTERDOWN", "TRYAGAIN", "MISCONF" only
 * if no attempt can have taken effect; otherwise the reply, or "UNCERTAIN" when time is up.
 */
import { assert } from "../base/assert.ts";
import { MiB } from "../base/units.ts";
import type { GroupId } from "../wal/types.ts";
import { BATCH_HEADER_BYTES } from "../wire/batch.ts";
import { CommandView } from "../wire/command.ts";
import type { NotServed } from "../wire/peer_encode.ts";
import { Bundle, type Origin } from "./bundle.ts";
import { inBatches, insert, isNear, sizeOf, takeBefore } from "./bundle_list.ts";
import { DISK_FULL, NO_LEADER, REPLICA_GONE } from "./fate.ts";
import { FORWARD_COMMANDS_MAX, type Forwarder } from "./forwarder.ts";
import type { GroupReplica } from "./group.ts";
import { slotOfCommand } from "./keys.ts";
import type { Lane } from "./lane.ts";
import { LeaderSearch } from "./leader_search.ts";
import type { RouterHost } from "./router_host.ts";
import { refusalOf, unservedSlot } from "./served.ts";

/**
 * A command that could not be brought to a leader, or learn its fate, within this many ticks is answered so.
 * 250 x 10 ms: below the 5 s after which common clients give up by themselves.
 */
export const COMMAND_TICKS_MAX = 250;
/** Bytes that wait in open bundles: 8 full batches. Beyond it connections with commands for this group wait. */
const WAITING_BYTES_MAX = 8 * MiB;
/** With no room in the log for this long, the disk is taken to be full. */
const ROOM_TICKS_MAX = 100;
/** While a sync is under way the next batch grows, up to this; then it is sent without waiting. */
const BATCH_BYTES_EARLY = 64 * 1024;

export class Router {
  readonly group: GroupId;
  readonly forwarder: Forwarder;
  readonly #host: RouterHost;
  /** This node's replica; null: it has none, or not yet. */
  #replica: GroupReplica | null = null;
  /** Used while there is none. */
  readonly #search: LeaderSearch;
  /** Bundles that ride in the log, oldest first; the last one is open. */
  #writes: Bundle[] = [];
  /** Bundles of plain reads, oldest first; the last one is open. */
  #reads: Bundle[] = [];
  /**
   * Writes that waited when this node ceased to lead, behind others that it had proposed: until the log has told what
   * became of those, or nobody waits for it, they would overtake them at the new leader.
   */
  #behind: Bundle[] = [];
  #waitingBytes = 0;
  /** It will be flushed in the next turn. */
  #touched = false;
  #noRoomSince = -1;
  #ended = false;
  readonly #view = new CommandView();
  /** Where commands go now (lane.ts); another number whenever they begin to go somewhere else. */
  #route: number;

  constructor(group: GroupId, forwarder: Forwarder, host: RouterHost) {
    this.group = group;
    this.forwarder = forwarder;
    this.#host = host;
    this.#search = new LeaderSearch(host);
    this.#route = host.numbering.nextRoute();
  }

  /** Commands that other nodes' doors forward are taken. */
  get leads(): boolean {
    return !this.#ended && this.#replica?.isLeader === true;
  }

  get replica(): GroupReplica | null {
    return this.#replica;
  }

  /** Who leads, as far as this node knows; "" = nobody. */
  get leader(): { readonly node: string; readonly term: number } {
    const replica = this.#replica;
    if (replica === null) return this.#search.hint;
    const node = replica.core.leader === 0 ? null : this.#host.leaderNode(replica);
    return { node: node ?? "", term: replica.core.term };
  }

  /** Who led when somebody was last known to; "" = nobody ever was. */
  lastLeader = "";

  /** Nobody waits for anything, and nothing is here that could answer. */
  get isIdle(): boolean {
    return this.#replica === null && this.#waitingBytes === 0 && this.forwarder.isIdle;
  }

  // ------------------------------------------------------------------------------------------- where to

  /** There may be work for it in this turn. */
  touch(): void {
    if (this.#touched) return;
    this.#touched = true;
    this.#host.touch(this);
  }

  /** This node serves a replica of the group from now on. */
  attach(replica: GroupReplica): void {
    assert(this.#replica === null, "a node holds one replica of a group");
    this.#replica = replica;
    this.onLeaderChange();
  }

  /** The replica is closed for good: what it had is told what is known, the others go to other nodes. */
  detach(): void {
    const replica = this.#replica;
    if (replica === null) return;
    this.#replica = null;
    this.#search.reset();
    replica.end();
    this.#host.numbering.topology++;
    this.#writes = this.#dropForwarded(this.#writes);
    this.#reads = this.#dropForwarded(this.#reads);
    this.#release();
    this.#redirect(null);
  }

  /** The nodes that hold a replica, by the map. */
  setHolders(nodes: readonly string[]): void {
    this.#search.holders = nodes;
  }

  /** `node` leads in `term`, it is said. */
  hear(node: string, term: number): void {
    const before = this.#search.asked;
    if (!this.#search.hear(node, term)) return;
    this.lastLeader = node;
    this.#host.numbering.topology++;
    this.#follow(before);
  }

  /** A node that was asked does not lead. */
  onNotLeader(from: string, term: number, leader: string): void {
    this.hear(leader, term);
    if (this.#replica !== null) return;
    const before = this.#search.asked;
    this.#search.refused(from, term, leader);
    this.#follow(before);
  }

  /** Perhaps another one than before is asked from now on. */
  #follow(before: string): void {
    const { asked, isTold } = this.#search;
    if (this.#replica !== null || asked === before) return;
    this.#redirect(asked === "" ? null : asked, isTold);
    this.#host.wake();
  }

  #redirect(node: string | null, isTold = true): void {
    this.#route = this.#host.numbering.nextRoute();
    this.#noRoomSince = -1;
    this.forwarder.retarget(node, isTold);
  }

  /** Whoever is asked may be gone, silent, or not answer. */
  #look(): void {
    const before = this.#search.asked;
    this.#search.look(this.forwarder.isOverdue);
    this.#follow(before);
  }

  /** Whom to send commands to; null: nobody now. */
  #destination(): string | null {
    const replica = this.#replica;
    if (replica !== null) return replica.core.leader === 0 ? null : this.#host.leaderNode(replica);
    this.#look();
    return this.#search.asked === "" ? null : this.#search.asked;
  }

  // ------------------------------------------------------------------------------------------- taking in

  /** No room for more commands now. */
  get isFull(): boolean {
    return this.#waitingBytes > WAITING_BYTES_MAX;
  }

  /**
   * Takes the command in `view`, of connection `lane`, that came at `sinceTick`. False: not now, and nothing was taken;
   * it waits for an answer of its lane, or for room here (`isFull`).
   */
  admit(
    view: CommandView,
    frameAt: number,
    slot: number,
    lane: Lane,
    origin: Origin,
    tag: number,
    sinceTick = this.#now,
  ): boolean {
    if (this.#ended) {
      origin.fail(tag, lane.enter(slot, !view.isWrite), REPLICA_GONE);
      return true;
    }
    if (this.isFull) return false;
    const rides = view.isWrite || lane.readRides(slot);
    if (rides && (lane.writeWaits(slot) || (!view.isWrite && lane.ridesFull))) return false;
    const refusal = this.#refusal(view, rides);
    if (refusal !== null) {
      origin.fail(tag, lane.enter(slot, !rides), refusal); // counted in and out again
      return true;
    }
    if (!lane.take(slot, view.hasSession ? lane.numberedRoute(this.#route) : this.#route)) return false;
    const size = view.end - frameAt;
    const away = this.#notHere(view, slot);
    const list = rides ? this.#writes : this.#reads;
    const bundle = away === null ? this.#open(list, size, sinceTick) : this.#alone(size, sinceTick);
    const mark = rides && !view.isWrite ? lane.enterRiding(slot) : lane.enter(slot, !rides);
    bundle.put(view, frameAt, origin, tag, mark);
    if (away === null) this.#waitingBytes += size;
    else this.#host.turnAway(bundle, rides, this.group, away);
    return true;
  }

  /**
   * Why this command is not even proposed, or sent; null if it is. A leader that does not serve the slot in its applied
   * state proposes nothing on it. So of two commands of one connection the second never takes effect after the first
   * was refused: it would have to be proposed before the seal was applied, and stand behind the end of that seal,
   * which is proposed only after (hazard F1 is met at apply all the same).
   */
  #notHere(view: CommandView, slot: number): NotServed | null {
    if (slot >= 0 && this.#host.isHeld(slot)) return { slot, epoch: 0, group: 0, shard: "" };
    const refused = this.leads ? this.#unserved(view, slot) : -1;
    return refused < 0 ? null : this.#refusalOf(refused);
  }

  #unserved(view: CommandView, slot: number): number {
    return unservedSlot((this.#replica as GroupReplica).store, view, slot);
  }

  #refusalOf(slot: number): NotServed {
    return refusalOf(this.#replica?.store ?? null, slot);
  }

  #alone(size: number, sinceTick: number): Bundle {
    const bundle = new Bundle(BATCH_HEADER_BYTES + size, 1);
    bundle.sinceTick = sinceTick;
    bundle.order = this.#host.numbering.nextOrder();
    bundle.given = true;
    return bundle;
  }

  /** Why this command must not be proposed; null if it may. */
  #refusal(view: CommandView, rides: boolean): string | null {
    if (!rides) return null;
    if (this.#noRoomSince >= 0 && this.#now - this.#noRoomSince > ROOM_TICKS_MAX) return DISK_FULL;
    const store = this.#replica?.store;
    if (store === undefined) return null; // the leader's node looks
    return store.memoryRefusal(view) ?? store.sessionRefusal(view);
  }

  #open(list: Bundle[], size: number, sinceTick: number): Bundle {
    this.touch();
    let bundle = list.at(-1);
    if (bundle === undefined || bundle.given || !bundle.fits(size) || !isNear(bundle, sinceTick)) {
      bundle = new Bundle(list === this.#writes ? 2 * (this.#replica?.bundleBytesExpected ?? 0) : 0);
      bundle.sinceTick = sinceTick;
      bundle.order = this.#host.numbering.nextOrder();
      if (this.leads) bundle.slotChanges = (this.#replica as GroupReplica).slotChanges;
      list.push(bundle);
    }
    return bundle;
  }

  get #now(): number {
    return this.#host.numbering.tick;
  }

  // ------------------------------------------------------------------------------------------- sending on

  /** Sends on what has come in. Once a turn. */
  flush(): void {
    this.#touched = false;
    if (this.#ended) return;
    const replica = this.#replica;
    replica?.noticeLeader(); // before anything goes to a former one, or past what a former one left open
    if (this.#behind.length > 0 && replica?.hasOrphans !== true) this.#release();
    if (replica?.isLeader === true) this.#flushHere(replica);
    else if (this.#waitingBytes > 0) this.#flushThere();
    if (this.#waitingBytes > 0) this.touch();
  }

  #flushHere(group: GroupReplica): void {
    while (this.#writes.length > 0) {
      const bundle = this.#writes[0] as Bundle;
      if (bundle.slotChanges !== group.slotChanges) {
        this.#lookAgain(group, bundle);
        continue;
      }
      if (this.#host.syncing() && this.#writes.length === 1 && bundle.bytes < BATCH_BYTES_EARLY) break;
      if (!group.propose(bundle)) {
        if (!group.isDiskFull(bundle.bytes)) this.#noRoomSince = -1;
        else if (this.#noRoomSince < 0) this.#noRoomSince = this.#now;
        break;
      }
      this.#noRoomSince = -1;
      this.#writes.shift();
      this.#waitingBytes -= sizeOf(bundle);
    }
    while (this.#reads.length > 0 && group.read(this.#reads[0] as Bundle)) {
      this.#waitingBytes -= sizeOf(this.#reads.shift() as Bundle);
    }
    if (this.#writes.length === 0) group.proposeTime();
  }

  /** The shard serves other slots by now: what it must not propose leaves the first of the writes. */
  #lookAgain(group: GroupReplica, bundle: Bundle): void {
    const stays = bundle.emptyTwin(bundle.bytes);
    stays.given = true;
    stays.slotChanges = group.slotChanges;
    this.#writes.shift();
    this.#waitingBytes -= sizeOf(bundle);
    for (let i = 0; i < bundle.count; i++) {
      this.#view.readGood(bundle.writer.bytes, bundle.start(i), bundle.endOf(i));
      const refused = this.#unserved(this.#view, slotOfCommand(this.#view));
      if (refused < 0) stays.take(bundle, i);
      else this.notServed(bundle, i, refused, true);
    }
    if (stays.count === 0) return;
    this.#writes.unshift(stays);
    this.#waitingBytes += sizeOf(stays);
  }

  #flushThere(): void {
    const node = this.#destination();
    if (node === null) return;
    for (const list of [this.#writes, this.#reads]) {
      while (list.length > 0) {
        const first = list[0] as Bundle;
        if (first.count > FORWARD_COMMANDS_MAX) list.splice(0, 1, ...first.split(FORWARD_COMMANDS_MAX));
        if (!this.forwarder.send(node, list[0] as Bundle, list === this.#writes)) break;
        this.#waitingBytes -= sizeOf(list.shift() as Bundle);
      }
    }
  }

  /** A part of a command that goes alone on its connection (scatter.ts): no order of this router concerns it. */
  enlist(view: CommandView, frameAt: number, origin: Origin, tag: number, sinceTick: number): void {
    const refusal = this.#ended ? REPLICA_GONE : this.#refusal(view, view.isWrite);
    if (refusal !== null) return origin.fail(tag, 0, refusal);
    const list = view.isWrite ? this.#writes : this.#reads;
    this.#put(view, frameAt, this.#open(list, view.end - frameAt, sinceTick), origin, tag);
  }

  #put(view: CommandView, frameAt: number, bundle: Bundle, origin: Origin, tag: number): void {
    bundle.put(view, frameAt, origin, tag, 0);
    this.#waitingBytes += view.end - frameAt;
  }

  /** A command that another node's door forwarded to this leader; that door keeps the order of its lanes. */
  admitForwarded(view: CommandView, frameAt: number, rides: boolean, origin: Origin, tag: number): void {
    if (this.#ended) {
      origin.takeBack(tag, true);
      return;
    }
    const refusal = this.#refusal(view, rides);
    if (refusal !== null) {
      origin.fail(tag, 0, refusal);
      return;
    }
    const refused = this.#unserved(view, slotOfCommand(view));
    if (refused >= 0) {
      const isTaken = origin.takeBack(tag, true, this.#refusalOf(refused));
      assert(isTaken, "a node that forwarded looks further itself");
      return;
    }
    const list = rides ? this.#writes : this.#reads;
    this.#put(view, frameAt, this.#open(list, view.end - frameAt, this.#now), origin, tag);
  }

  /**
   * Commands to be sent again when there is a leader: before all that came later, behind what was given back of
   * earlier bundles, or of the same one.
   */
  giveBack(bundle: Bundle, rides: boolean): void {
    if (this.#ended) return bundle.endAll(false);
    const own = bundle.withoutForwarded();
    if (own.count === 0) return;
    own.given = true;
    this.#waitingBytes += sizeOf(own);
    insert(rides ? this.#writes : this.#reads, inBatches(own));
    this.touch();
    this.#host.wake();
  }

  /** Command `i` took no effect: the replica here, which leads, does not serve that slot. */
  notServed(bundle: Bundle, i: number, slot: number, rides: boolean): void {
    this.sendElsewhere(bundle, i, rides, this.#refusalOf(slot));
  }

  sendElsewhere(bundle: Bundle, i: number, rides: boolean, refusal: NotServed): void {
    if (bundle.origin(i).takeBack(bundle.tag(i), true, refusal)) return;
    this.#host.turnAway(bundle.only(i), rides, this.group, refusal);
  }

  /** Commands that another group did not take, because the slot is served here. */
  takeOver(bundle: Bundle, rides: boolean): void {
    if (this.#ended) return bundle.endAll(false);
    this.#waitingBytes += sizeOf(bundle);
    insert(rides ? this.#writes : this.#reads, [bundle]);
    this.touch();
  }

  /** The replica here knows another leader, or none. */
  onLeaderChange(): void {
    const replica = this.#replica;
    if (this.#ended || replica === null) return;
    if (!replica.isLeader) {
      this.#writes = this.#dropForwarded(this.#writes);
      this.#reads = this.#dropForwarded(this.#reads);
      if (replica.hasOrphans) {
        this.#behind.push(...this.#writes);
        this.#writes = [];
      }
    }
    this.#host.numbering.topology++;
    const leader = replica.core.leader === 0 ? null : this.#host.leaderNode(replica);
    if (leader !== null) this.lastLeader = leader;
    this.#redirect(replica.isLeader ? null : leader);
    this.touch();
    this.#host.wake();
  }

  /** Nothing that came before them is open any more. */
  #release(): void {
    const behind = this.#behind;
    this.#behind = [];
    for (const bundle of behind) insert(this.#writes, [bundle]);
  }

  #dropForwarded(list: readonly Bundle[]): Bundle[] {
    const left: Bundle[] = [];
    for (const bundle of list) {
      this.#waitingBytes -= sizeOf(bundle);
      const own = bundle.withoutForwarded();
      if (own.count === 0) continue;
      left.push(own);
      this.#waitingBytes += sizeOf(own);
    }
    return left;
  }

  tick(): void {
    if (this.#ended || this.isQuiet) return;
    const before = this.#now - COMMAND_TICKS_MAX;
    const replica = this.#replica;
    replica?.giveUpBefore(before);
    const wanted = this.#writes[0]?.bytes ?? BATCH_BYTES_EARLY;
    if (this.#noRoomSince >= 0 && replica?.canPropose(wanted) === true) this.#noRoomSince = -1;
    this.forwarder.tick();
    this.forwarder.giveUpBefore(before);
    if (replica === null && !this.forwarder.isIdle) this.#look();
    this.#giveUpParked(before);
    if (this.leads) this.touch(); // log time may have to move
  }

  /** It needs no ticks: there may be hundreds of groups that nobody uses. */
  get isQuiet(): boolean {
    const isWaiting = this.#waitingBytes > 0 || this.#noRoomSince >= 0 || !this.forwarder.isQuiet;
    return !isWaiting && (this.#replica === null || this.#replica.isQuiet);
  }

  /** Never proposed anywhere: it is certain that nothing happened. */
  #giveUpParked(before: number): void {
    for (const list of [this.#behind, this.#writes, this.#reads]) {
      for (const bundle of takeBefore(list, before)) {
        this.#waitingBytes -= sizeOf(bundle);
        if (bundle.sent) bundle.failAllUnknown();
        else bundle.failAll(this.#noRoomSince >= 0 ? DISK_FULL : NO_LEADER);
      }
    }
  }

  /** The group is no more: whoever waits is told what is known, and nobody is taken in any more. */
  end(): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#replica?.end();
    this.forwarder.end();
    for (const list of [this.#behind, this.#writes, this.#reads]) {
      for (const bundle of list.splice(0)) bundle.endAll(false);
    }
    this.#waitingBytes = 0;
    this.#host.wake();
  }
}
