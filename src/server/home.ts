/**
 * A node's directory while the node runs: who it is, its log, and which replica ids were used up in it. All groups of
 * the node share it, so changes of it go one after the other.
 */
import { assert } from "../base/assert.ts";
import type { NucleusError } from "../base/errors.ts";
import { type Done, runTask, type Task, wait } from "../base/task.ts";
import type { Platform } from "../platform/platform.ts";
import type { Lsn, ReplicaId } from "../raft/types.ts";
import type { Store } from "../store/types.ts";
import type { GroupId, Recovered, Wal, WalOptions } from "../wal/types.ts";
import { openWal } from "../wal/wal.ts";
import { type Identity, saveIdentity } from "./identity.ts";

export type HomeOptions = {
  readonly dir: string;
  readonly node: string;
  readonly segmentBytes: number;
  readonly events: Pick<WalOptions, "onSynced" | "onFailed"> & {
    /** No change of the directory is under way or waits any more. */
    readonly onIdle: () => void;
  };
  /** An empty state machine for a replica of the group. */
  readonly makeStore: (group: GroupId) => Store;
};

export type OpenLog = { readonly wal: Wal; readonly recovered: Recovered; readonly watch: Watch };

/** Who hears of syncs: the node, and for a while a task that waits for one. */
export type Watch = { onSynced: (lsn: Lsn) => void };

export class Home {
  readonly platform: Platform;
  readonly options: HomeOptions;
  #identity: Identity;
  /** Null while a damaged log is left as it is. */
  #log: OpenLog | null;
  /** Why the log cannot be used as it is. */
  readonly damage: NucleusError | null;
  readonly #waiting: (() => void)[] = [];
  #busy = false;

  constructor(
    platform: Platform,
    options: HomeOptions,
    identity: Identity,
    log: OpenLog | null,
    damage: NucleusError | null,
  ) {
    this.platform = platform;
    this.options = options;
    this.damage = damage;
    this.#identity = identity;
    this.#log = log;
  }

  get identity(): Identity {
    return this.#identity;
  }

  get log(): OpenLog | null {
    return this.#log;
  }

  /** A change of what the directory holds is under way. */
  get isBusy(): boolean {
    return this.#busy;
  }

  /** Runs `task` when those before it have ended. */
  change<T>(task: () => Task<T>, done: Done<T>): void {
    const begin = (): void => {
      this.#busy = true;
      runTask(task(), (error, value) => {
        done(error, value); // still busy: what it asks for goes behind the others
        this.#busy = false;
        const next = this.#waiting.shift();
        if (next !== undefined) next();
        else this.options.events.onIdle();
      });
    };
    if (this.#busy) this.#waiting.push(begin);
    else begin();
  }

  /** The node stops: what is under way ends, and what waits for that is not begun. It was not promised to anybody. */
  changeNoMore(): void {
    this.#waiting.length = 0;
  }

  /** The highest id of the group that was ever held here; 0: none. */
  usedUp(group: GroupId): ReplicaId {
    const tombstone = this.#log?.recovered.tombstones.find((one) => one.group === group)?.replica ?? 0;
    return Math.max(this.#identity.replicas.get(group) ?? 0, tombstone);
  }

  /** Notes that a replica was held under this id; it lasts when this ends. */
  *use(group: GroupId, replica: ReplicaId): Task<void> {
    const replicas = new Map(this.#identity.replicas).set(group, Math.max(replica, this.usedUp(group)));
    yield* this.#save({ ...this.#identity, replicas });
  }

  /**
   * Notes what was found in the log and was not noted yet: a founder whose birth was broken off. It lasts when this ends,
   * and nobody is served before: the log may be lost later, and with it what that founder promised.
   */
  *useAll(found: ReadonlyMap<GroupId, ReplicaId>): Task<void> {
    const replicas = new Map(this.#identity.replicas);
    for (const [group, replica] of found)
      if (replica > (replicas.get(group) ?? 0)) replicas.set(group, replica);
    const isNews = [...replicas].some(([group, replica]) => replica !== this.#identity.replicas.get(group));
    if (isNews) yield* this.#save({ ...this.#identity, replicas });
  }

  /** The control plane has said which cluster this is. */
  *join(cluster: string): Task<void> {
    assert(this.#identity.cluster === "", "a directory belongs to one cluster for ever");
    yield* this.#save({ ...this.#identity, cluster });
  }

  *#save(identity: Identity): Task<void> {
    const { platform, options } = this;
    yield* saveIdentity(platform.disk, options.dir, identity);
    this.#identity = identity;
  }

  /** The log; a damaged one is set aside first, and what is sound of it goes on. */
  *soundLog(): Task<OpenLog> {
    this.#log ??= yield* openLog(this.platform, this.options, "setAside");
    return this.#log;
  }
}

export function* openLog(
  platform: Platform,
  { dir, segmentBytes, events }: HomeOptions,
  onDamage: "refuse" | "setAside",
): Task<OpenLog> {
  const { disk, log, random } = platform;
  const watch: Watch = { onSynced: events.onSynced };
  const opened = yield* openWal({
    disk,
    log,
    dir: `${dir}/wal`,
    segmentBytes,
    randomU32: () => random.u32(),
    onSynced: (lsn) => watch.onSynced(lsn),
    onFailed: events.onFailed,
    onDamage,
  });
  return { ...opened, watch };
}

/** Submits what was appended, and ends when the disk has everything below `end`. */
export function* untilSynced({ wal, watch }: OpenLog, end: Lsn): Task<void> {
  const { onSynced } = watch;
  yield* wait<void>((done) => {
    watch.onSynced = (lsn) => {
      onSynced(lsn);
      if (lsn < end) return;
      watch.onSynced = onSynced;
      done(null, undefined);
    };
    wal.submit();
  });
}
