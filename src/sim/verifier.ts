/**
 * The last client: after healing it reads every key through every node that is up, again and again until each was
 * answered. Its reads belong to the history, so a node that comes back with an old state is found out.
 */
import { below } from "./chance.ts";
import type { Cluster, SimNode } from "./cluster.ts";
import type { Machine } from "./platform.ts";
import { NativeSpeech } from "./speech.ts";
import { Conversation, type Talk } from "./talk.ts";
import { keysOf } from "./workload.ts";

/** Clients are numbered from 0; these readers stand far above. */
const READERS = 1_000;

export class Verifier {
  /** What the counters were last seen to hold. */
  readonly counters = new Map<string, number>();
  readonly #cluster: Cluster;
  readonly #machine: Machine;
  /** Per node: keys that were not answered there yet. */
  readonly #left = new Map<string, Set<string>>();

  constructor(cluster: Cluster, machine: Machine) {
    this.#cluster = cluster;
    this.#machine = machine;
    for (const node of this.#nodes) this.#left.set(node.id, new Set(keysOf(cluster.plan.workload)));
    machine.start((platform) => {
      for (const node of this.#nodes) this.#read(platform, node.index);
    });
  }

  get #nodes(): readonly SimNode[] {
    return this.#cluster.survivors.filter(({ isControl }) => !isControl);
  }

  get done(): boolean {
    for (const node of this.#nodes) if ((this.#left.get(node.id)?.size ?? 0) > 0) return false;
    return true;
  }

  missing(): string {
    const parts = [...this.#left].filter(([, keys]) => keys.size > 0);
    if (parts.length === 0) return "every key was read through every node";
    return parts.map(([node, keys]) => `${keys.size} keys could not be read through ${node}`).join(", ");
  }

  #read(platform: Parameters<Parameters<Machine["start"]>[0]>[0], index: number): void {
    const { world, history, nodes, layout } = this.#cluster;
    const process = this.#machine.process;
    const node = nodes[index];
    const target = layout.nodes[index];
    if (process === null || node === undefined || target === undefined) return;
    const left = this.#left.get(node.id) as Set<string>;
    const again = (): void => {
      if (left.size > 0 && node.state !== "lost")
        world.timer(50_000 + below(world.stream("verifier"), 50_000), process, () =>
          this.#read(platform, index),
        );
    };
    const next = (conversation: Talk): void => {
      const [key] = left;
      if (key !== undefined) conversation.ask(key, { kind: "get" });
    };
    const conversation = new Conversation(world, process, new NativeSpeech(), history, {
      client: READERS + index,
      onReady: next,
      onAnswer: (talk, key, value) => {
        if (value !== undefined) {
          left.delete(key);
          if (key.startsWith("n")) this.counters.set(key, Number(value ?? "0"));
          next(talk);
        } else world.timer(100_000, process, () => next(talk));
      },
      onEnd: again,
    });
    conversation.begin(platform, target);
  }
}
