/**
 * A replica whose disk was harmed does not go on as if nothing had been (hazards A12, D1, D2).
 *
 *     damage is noticed    a replica that serves after a bit of its log turned over still has every entry that
 *                          its log vouched for before
 *     a lost disk is lost  a replica whose disk was wiped neither votes nor acknowledges any more; the node may
 *                          come back under another replica id
 *
 * Entries at the very end of the log, which no later record vouches for yet, may be taken for a torn write: that
 * window is the product's promise (docs/consistency.md), and two records, so that one bit cannot undo it, is ours.
 */
import type { Message } from "../../raft/types.ts";
import { NODE_DIR, type SimNode } from "../cluster.ts";
import type { World } from "../world.ts";
import type { Checker } from "./checker.ts";
import { DurableLog, type VouchedEntry } from "./durable_log.ts";

export class DamageChecker implements Checker {
  readonly name = "damage";
  judged = 0;
  readonly #world: World;
  /** What a node whose disk was harmed vouched for before. */
  readonly #before = new Map<SimNode, readonly VouchedEntry[]>();
  /** Replicas ("group/id") that have spoken from a node, and those of them that its disk no longer knows. */
  readonly #spoke = new Map<SimNode, Set<string>>();
  readonly #dead = new Map<SimNode, ReadonlySet<string>>();

  constructor(world: World) {
    this.#world = world;
  }

  onMessage(node: SimNode, group: number, message: Message): void {
    const vouches =
      (message.kind === "vote_reply" && message.granted) ||
      (message.kind === "append_reply" && message.accepted);
    if (!vouches) return;
    if (this.#dead.get(node)?.has(`${group}/${message.from}`) === true) {
      this.#world.fail(
        "a lost disk is lost",
        `${node.id} sent a ${message.kind} as replica ${message.from}, whose disk was wiped`,
      );
    }
    let spoke = this.#spoke.get(node);
    if (spoke === undefined) {
      spoke = new Set();
      this.#spoke.set(node, spoke);
    }
    spoke.add(`${group}/${message.from}`);
  }

  onDamage(node: SimNode, how: "flip_bit" | "wipe"): void {
    if (how === "wipe") this.#dead.set(node, new Set(this.#spoke.get(node)));
    else this.#before.set(node, new DurableLog(node.machine.disk, `${NODE_DIR}/wal`).vouched());
  }

  /** It serves, and nobody has sent it anything yet: what its log held before, it must still hold. */
  onUp(node: SimNode): void {
    const before = this.#before.get(node);
    if (before === undefined) return;
    this.#before.delete(node);
    const replicas = new Map(node.server?.groups.map(({ group, replica }) => [group, replica]));
    if (replicas.size === 0) return; // it noticed, and waits for another id
    this.judged++;
    const log = new DurableLog(node.machine.disk, `${NODE_DIR}/wal`);
    const gone = before.find(
      (entry) =>
        entry.replica === replicas.get(entry.group) && !log.holds(entry.group, entry.index, entry.term),
    );
    if (gone === undefined) return;
    this.#world.fail(
      "damage is noticed",
      `${node.id} goes on as replica ${gone.replica} after a bit of its log turned over, ` +
        `without entry ${gone.index} of term ${gone.term}`,
    );
  }
}
