/**
 * Whether this replica's state is still that of the others (hazards G1, G4, G5): at fixed indexes every replica tells
 * the others its state's hash. Apply is deterministic, so they are equal; a broken memory, a bug or another build may
 * make one of them differ.
 *
 *     a majority of the voters share a hash, and ours is another one     ->  this replica is closed, and replaced
 *     all voters have spoken, and no hash has a majority                 ->  nobody knows: the node stops
 *
 * Each replica judges itself; nobody is told what to do by somebody whose state may be the wrong one.
 *
 * Bounds: INDEXES_KEPT indexes of at most as many hashes as the group has members.
 */
import type { GroupConfig, Index, ReplicaId } from "../raft/types.ts";

/** The hash is kept up to date by every change, so asking for it costs nothing; a note has about 100 bytes. */
const EVERY_ENTRIES = 128;
/** A replica that is further behind than the others remember is compared at the next index. */
const INDEXES_KEPT = 16;

export type HashesHost = {
  /** In force; null while a change is under way. */
  config(): GroupConfig | null;
  tell(index: Index, hash: string): void;
  /** This replica differs from a majority. */
  onDiverged(index: Index): void;
  /** All differ. */
  onUndecidable(index: Index): void;
};

export class StateHashes {
  readonly #self: ReplicaId;
  readonly #host: HashesHost;
  /** Hashes by index, then replica; ascending indexes are not needed, few are kept. */
  readonly #heard = new Map<Index, Map<ReplicaId, string>>();

  constructor(self: ReplicaId, host: HashesHost) {
    this.#self = self;
    this.#host = host;
  }

  /** `index` was applied here. */
  applied(index: Index, hash: () => string): void {
    if (index % EVERY_ENTRIES !== 0) return;
    const own = hash();
    this.#host.tell(index, own);
    this.#take(this.#self, index, own);
  }

  /** Another replica's. */
  hear(replica: ReplicaId, index: Index, hash: string): void {
    if (index % EVERY_ENTRIES === 0 && replica !== this.#self) this.#take(replica, index, hash);
  }

  #take(replica: ReplicaId, index: Index, hash: string): void {
    let hashes = this.#heard.get(index);
    if (hashes === undefined) {
      hashes = new Map();
      this.#heard.set(index, hashes);
      if (this.#heard.size > INDEXES_KEPT) this.#heard.delete(Math.min(...this.#heard.keys()));
    }
    hashes.set(replica, hash);
    this.#judge(index, hashes);
  }

  #judge(index: Index, hashes: ReadonlyMap<ReplicaId, string>): void {
    const own = hashes.get(this.#self);
    const config = this.#host.config();
    if (own === undefined || config === null) return;
    const votes = new Map<string, number>();
    let spoken = 0;
    for (const { replica } of config.voters) {
      const hash = hashes.get(replica);
      if (hash === undefined) continue;
      spoken++;
      votes.set(hash, (votes.get(hash) ?? 0) + 1);
    }
    const [right] = [...votes].find(([, count]) => count > config.voters.length / 2) ?? [null];
    if (right !== null && right !== own) this.#host.onDiverged(index);
    else if (right === null && spoken === config.voters.length) this.#host.onUndecidable(index);
  }
}
