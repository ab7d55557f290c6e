/** Commands at random, mostly such as fit the state they meet, some that do not. */
import type { Prng } from "../../src/base/prng.ts";
import type { Body, ControlCommand } from "../../src/controlplane/commands.ts";
import { isOpen, type MetaState, SETTINGS_DEFAULT } from "../../src/controlplane/state.ts";
import type { Slots } from "../../src/wire/shapes.ts";
import { init, newborn, old, plan, RECORD, register } from "./bodies.ts";
import { id } from "./driver.ts";

const NODES = ["n1", "n2", "n3", "n4", "n5"];

export class RandomCommands {
  readonly #random: Prng;
  readonly #sent: ControlCommand[] = [];
  #requests = 0;
  #group = 200;

  constructor(random: Prng) {
    this.#random = random;
  }

  /** One in eight was sent before. */
  next(state: MetaState): ControlCommand {
    const random = this.#random;
    if (this.#sent.length > 0 && random.chance(1, 8)) return random.pick(this.#sent);
    const request = random.chance(1, 2) ? id(`${++this.#requests}`) : null;
    const command = { request, body: this.#body(state) };
    this.#sent.push(command);
    return command;
  }

  #body(state: MetaState): Body {
    const random = this.#random;
    const node = random.pick(NODES);
    const shards = [...state.shards.keys()];
    const shard = shards.length === 0 || random.chance(1, 20) ? "s99" : random.pick(shards);
    const number = state.planNumber + (random.chance(1, 6) ? 0 : 1);
    switch (random.below(16)) {
      case 0:
        return this.#register(node, state);
      case 1:
        return { kind: "heard", node, incarnation: id(node), heard: this.#heard(state) };
      case 2:
        return {
          kind: "node",
          node,
          action: random.pick(["drain", "undrain", "exclude", "include", "remove"]),
        };
      case 3: {
        const expected = random.chance(1, 2) ? (state.shards.get(shard)?.replicas ?? []) : null;
        return { kind: "desired", shard, add: [random.pick(NODES)], remove: [node], expected };
      }
      case 4:
        return { kind: random.pick(["formed", "retire"]), shard };
      case 5:
        return random.chance(1, 6) ? { kind: "lost", shard } : { kind: "formed", shard };
      case 6:
        return random.chance(1, 4)
          ? { kind: "restored", token: id(`${random.below(4)}`) }
          : { kind: "adopt", shard: `s${random.below(12)}`, group: 100 + random.below(20), replicas: [node] };
      case 7:
        return { kind: "settings", settings: { ...SETTINGS_DEFAULT, movesMax: 1 + random.below(4) } };
      case 8:
        return { kind: random.pick(["cutover", "cancel"]), number: Math.max(1, state.planNumber) };
      case 9:
        return {
          kind: "assign",
          shard,
          claims: [{ epoch: this.#epoch(state), slots: this.#slots() }],
        };
      default:
        if (state.layout === null)
          return random.chance(1, 3) ? init(2, ["n1", "n2"]) : this.#register(node, state);
        return state.plan === null ? this.#plan(state, number) : this.#step(state);
    }
  }

  #register(node: string, state: MetaState): Body {
    const incarnation = this.#random.chance(1, 8) ? id(`${node}${this.#random.below(3)}`) : id(node);
    return register(node, incarnation, this.#heard(state));
  }

  #heard({ version, epoch, planNumber }: MetaState): ReturnType<typeof register>["registration"]["heard"] {
    const random = this.#random;
    const near = (value: number): number =>
      Math.max(0, value - 2 + random.below(random.chance(1, 6) ? 5 : 2));
    return {
      version: { restore: near(version.restore), index: near(version.index) },
      epoch: near(epoch),
      plan: near(planNumber),
    };
  }

  /** Mostly of long ago; and with each era that begins all before are. */
  #epoch({ epoch }: MetaState): number {
    return 1 + this.#random.below(Math.min(epoch + 2, 2 ** 32));
  }

  #slots(): Slots {
    const first = this.#random.below(16_000);
    return [[first, first + this.#random.below(300)]];
  }

  #plan(state: MetaState, number: number): Body {
    const random = this.#random;
    const names = [...state.shards.values()]
      .filter((shard) => shard.state !== "lost")
      .map((shard) => shard.id);
    const listed = random.chance(1, 4) ? names.slice(1) : names;
    const shards = old(...listed);
    const fresh = {
      id: `s${random.below(12)}`,
      weight: 1,
      newborn: newborn(++this.#group, [random.pick(NODES)]),
    };
    const all = random.chance(1, 2) ? [...shards, fresh] : shards;
    const moves = names.flatMap((from) => {
      const first = this.#slotOf(state, from);
      if (first < 0 || all.length === 0) return [];
      let last = first;
      const size = random.below(256);
      while (last - first < size && state.assignment.shardAt(last + 1) === from) last++;
      const to = random.pick(all).id;
      return to === from ? [] : [{ from, to, slots: [[first, last]] as Slots }];
    });
    return plan(number, all, moves, random.chance(1, 2));
  }

  /** Some slot of the shard; -1 if it was not hit on. */
  #slotOf({ assignment }: MetaState, shard: string): number {
    for (let i = 0; i < 50; i++) {
      const slot = this.#random.below(16_383);
      if (assignment.shardAt(slot) === shard) return slot;
    }
    return -1;
  }

  #step({ plan: active }: MetaState): Body {
    const random = this.#random;
    const moves = active?.moves ?? [];
    const at = random.below(Math.max(1, moves.length));
    const open = moves.filter(isOpen);
    if (active === null || open.length === 0 || random.chance(1, 3))
      return { kind: "start", plan: active?.number ?? 1, move: at, tries: (moves[at]?.tries ?? 0) + 1 };
    const move = random.pick(open);
    const phase = move.state === "running" ? random.pick(["owned", "aborted"] as const) : "closed";
    return { kind: "outcome", epoch: move.epoch, phase, record: phase === "owned" ? RECORD : null };
  }
}
