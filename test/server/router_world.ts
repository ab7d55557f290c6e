import { utf8, Writer } from "../../src/base/bytes.ts";
import type { Bundle } from "../../src/server/bundle.ts";
import { Numbering } from "../../src/server/numbering.ts";
import type { RouterHost } from "../../src/server/router_host.ts";
import { CommandView, type Op } from "../../src/wire/command.ts";
import { CommandEncoder } from "../../src/wire/command_encode.ts";
import type { NotServed } from "../../src/wire/peer_encode.ts";

export function frame(op: Op, ...args: readonly string[]): CommandView {
  const writer = new Writer(64);
  const encoder = new CommandEncoder(writer);
  encoder.begin(op);
  for (const arg of args) encoder.arg(utf8(arg));
  encoder.end();
  const view = new CommandView();
  if (view.read(writer.copy(), 0, writer.length) !== null) throw new Error("a good frame");
  return view;
}

export function freshState() {
  return {
    isLeader: true,
    leader: 1,
    hasRoom: true,
    hasOrphans: false,
    syncing: false,
    sends: true,
    proposed: [] as Bundle[],
    read: [] as Bundle[],
    sent: [] as Bundle[],
    away: new Set<number>(),
    slotChanges: 0,
    turnedAway: [] as { tags: number[]; rides: boolean; group: number; refusal: NotServed }[],
    timeWanted: false,
    timeProposed: 0,
  };
}

export type State = ReturnType<typeof freshState>;

/** A group that does what the state says, and remembers what it was asked. */
export function groupOf(state: State) {
  return {
    get isLeader() {
      return state.isLeader;
    },
    get hasOrphans() {
      return state.hasOrphans;
    },
    core: {
      get leader() {
        return state.leader;
      },
      term: 1,
    },
    store: {
      memoryRefusal: () => null,
      sessionRefusal: () => null,
      isServed: (slot: number) => !state.away.has(slot),
      slotFate: () => ({ state: "sealed", epoch: 4, movedTo: null }),
    },
    get slotChanges() {
      return state.slotChanges;
    },
    bundleBytesExpected: 0,
    noticeLeader: () => {},
    propose: (bundle: Bundle) => {
      if (!state.hasRoom) return false;
      state.proposed.push(bundle);
      state.timeWanted = false;
      return true;
    },
    proposeTime: () => {
      if (state.timeWanted) state.timeProposed++;
      state.timeWanted = false;
    },
    read: (bundle: Bundle) => state.read.push(bundle) > 0,
    canPropose: () => state.hasRoom,
    isDiskFull: () => !state.hasRoom && !state.syncing,
    giveUpBefore: () => {},
    end: () => {},
  };
}

/** Of n1, which holds the replica, if there is one. */
export function hostOf(state: State & { down?: ReadonlySet<string> }): RouterHost {
  return {
    numbering: new Numbering(),
    node: "n1",
    syncing: () => state.syncing,
    canForward: (node) => state.down?.has(node) !== true,
    isSilent: () => false,
    leaderNode: () => `n${state.leader}`,
    isHeld: () => false,
    touch: () => {},
    turnAway: (bundle, rides, group, refusal) =>
      void state.turnedAway.push({ tags: [...bundle.tags], rides, group, refusal }),
    wake: () => {},
  };
}
