/**
 * Which incarnation of each other node this node knows (hazard A12). The first hello of a node is remembered, on
 * disk before it is believed; a later one with another incarnation is refused: its directory was lost or swapped.
 */
import { messageOf } from "../base/errors.ts";
import { runTask } from "../base/task.ts";
import type { Platform } from "../platform/platform.ts";
import { savePeers } from "./identity.ts";

export class KnownPeers {
  readonly #platform: Platform;
  readonly #dir: string;
  readonly #known: Map<string, string>;
  /** Those whose incarnation lasts on this disk. */
  readonly #lasting: Set<string>;
  #saving = false;

  constructor(platform: Platform, dir: string, known: ReadonlyMap<string, string>) {
    this.#platform = platform;
    this.#dir = dir;
    this.#known = new Map(known);
    this.#lasting = new Set(known.keys());
  }

  /** Why this incarnation of `node` is not listened to; null if it may be. */
  problem(node: string, incarnation: string): string | null {
    const known = this.#known.get(node);
    if (known === undefined) {
      this.#known.set(node, incarnation);
      this.#save();
    } else if (known !== incarnation) {
      return `${node} came back with another data directory (incarnation ${incarnation}, not ${known}): it must not vote as its former self`;
    }
    return this.#lasting.has(node) ? null : `${node} is new here; it is listened to when that is on disk`;
  }

  #save(): void {
    if (this.#saving) return;
    this.#saving = true;
    const saved = new Map(this.#known);
    runTask(savePeers(this.#platform.disk, this.#dir, saved), (error) => {
      this.#saving = false;
      if (error !== null) {
        // Not believed, so nothing is at risk: the next hello tries again.
        this.#platform.log.write("error", "peers.json cannot be written", { reason: messageOf(error) });
        for (const node of saved.keys()) if (!this.#lasting.has(node)) this.#known.delete(node);
        return;
      }
      for (const node of saved.keys()) this.#lasting.add(node);
      if (saved.size < this.#known.size) this.#save();
    });
  }
}
