/**
 * One node's routing between two shards on other nodes and here: what it sends is remembered, what they answer the
 * test says. Replicas here are small doubles of their driver; everything between them and the doors is real.
 */
import { utf8, Writer } from "../../src/base/bytes.ts";
import { slotOf } from "../../src/ring/slot.ts";
import { Bundle } from "../../src/server/bundle.ts";
import type { GroupReplica } from "../../src/server/group.ts";
import { Lane } from "../../src/server/lane.ts";
import { Routing } from "../../src/server/routing.ts";
import { CommandView, type Op, type Session } from "../../src/wire/command.ts";
import { CommandEncoder } from "../../src/wire/command_encode.ts";
import { ReplyEncoder } from "../../src/wire/native_reply.ts";
import { FORWARD_STATUS, type ForwardStatus, type NotServed } from "../../src/wire/peer_encode.ts";
import type { ReplySink } from "../../src/wire/reply.ts";
import { FakeOrigin, random } from "./doubles.ts";

export { A, B, HALF, mapOf } from "./maps.ts";

export type Sent = { node: string; group: number; id: number; rides: boolean; bundle: Bundle };

/** A key of this slot. */
export function keyOf(slot: number, n = 0): string {
  for (let i = 0; ; i++) {
    const key = `${n}-${i}`;
    const bytes = utf8(key);
    if (slotOf(bytes, 0, bytes.length) === slot) return key;
  }
}

export function frame(op: Op, ...args: readonly (string | Uint8Array | number)[]): CommandView {
  const writer = new Writer(64);
  const encoder = new CommandEncoder(writer);
  encoder.begin(op);
  for (const arg of args) {
    if (typeof arg === "number") encoder.argI64(arg);
    else encoder.arg(typeof arg === "string" ? utf8(arg) : arg);
  }
  encoder.end();
  const view = new CommandView();
  if (view.read(writer.copy(), 0, writer.length) !== null) throw new Error("a good frame");
  return view;
}

/** A door that gives room in its lane back when it has an answer, as real ones do. */
export class LaneOrigin extends FakeOrigin {
  readonly lane = new Lane();

  override end(tag: number, mark: number): void {
    super.end(tag, mark);
    this.lane.leave(mark);
  }
}

export function routingWorld() {
  const down = new Set<string>();
  const silent = new Set<string>();
  const sent: Sent[] = [];
  const state = { node: "n1", clockTicks: 0 };
  const routing = new Routing({
    random,
    node: state.node,
    clockTicks: () => state.clockTicks,
    wallMs: () => 1_000_000,
    syncing: () => false,
    canForward: (node) => !down.has(node),
    isSilent: (node) => silent.has(node),
    sendForward: (node, group, id, rides, _resumes, bundle) =>
      void sent.push({ node, group, id, rides, bundle }),
    leaderNode: () => null,
    wake: () => {},
  });
  const origin = new LaneOrigin();
  const admit = (tag: number, op: Op, ...args: readonly (string | Uint8Array | number)[]): boolean => {
    return routing.admit(frame(op, ...args), 0, origin.lane, origin, tag);
  };
  const row = { bytes: new Uint8Array(0), start: 0, end: 0, text: "", term: 0, refusal: null };
  const answer = (id: number, ordinal: number, say: (sink: ReplySink) => void): boolean => {
    const writer = new Writer(64);
    say(new ReplyEncoder(writer));
    const bytes = writer.copy();
    return routing.onForwardReply({ ...row, request: id, ordinal, status: 0, bytes, end: bytes.length });
  };
  const refuse = (id: number, ordinal: number, refusal: NotServed): boolean =>
    routing.onForwardReply({ ...row, request: id, ordinal, status: FORWARD_STATUS.notServed, refusal });
  const say = (id: number, ordinal: number, status: ForwardStatus, text: string): boolean =>
    routing.onForwardReply({ ...row, request: id, ordinal, status, text });
  /** Ticks that come `every` so many of their intervals: a later one stands for those that did not come. */
  const ticks = (count: number, every = 1): void => {
    for (let i = 0; i < count; i++) {
      state.clockTicks += every;
      routing.tick();
      routing.flush();
    }
  };
  /** The rest of a turn, and the next one. */
  const turn = (): void => {
    routing.endTurn();
    routing.flush();
  };
  return { turn, routing, origin, down, silent, sent, admit, answer, refuse, say, ticks };
}

export function sessionOf({ bundle }: Sent, i = 0): Session | null {
  const view = new CommandView();
  if (view.read(bundle.writer.bytes, bundle.start(i), bundle.endOf(i)) !== null) throw new Error("malformed");
  return view.hasSession ? view.session() : null;
}

/** A replica here that leads and does what the test says; what was proposed is remembered. */
export function leadingReplica(group: number) {
  const state = {
    away: new Set<number>(),
    movedTo: null as { shard: string; group: number } | null,
    slotChanges: 0,
    proposed: [] as Bundle[],
    read: [] as Bundle[],
  };
  const replica = {
    group,
    isLeader: true,
    hasOrphans: false,
    get slotChanges() {
      return state.slotChanges;
    },
    core: { leader: 1, term: 1 },
    store: {
      memoryRefusal: () => null,
      sessionRefusal: () => null,
      isServed: (slot: number) => !state.away.has(slot),
      slotFate: () => ({ state: "sealed", epoch: 9, movedTo: state.movedTo }),
    },
    bundleBytesExpected: 0,
    noticeLeader: () => {},
    leaderTimeEstimateMs: () => 1_000_000,
    propose: (bundle: Bundle) => state.proposed.push(bundle) > 0,
    proposeTime: () => {},
    read: (bundle: Bundle) => state.read.push(bundle) > 0,
    canPropose: () => true,
    isDiskFull: () => false,
    giveUpBefore: () => {},
    end: () => {},
  };
  return { ...state, state, replica: replica as unknown as GroupReplica };
}

export function bundleTags(bundles: readonly Bundle[]): number[] {
  return bundles.flatMap(({ tags }) => tags);
}

export { Bundle };
