/**
 * Log time as one replica has it: what it would stamp on a batch while it leads, and what its leader's time is about
 * while it follows. The clocks that are heard, and what is made of them: log_time.ts.
 */
import type { Clock } from "../platform/platform.ts";
import type { RaftCore } from "../raft/core.ts";
import type { ReplicaId, Term } from "../raft/types.ts";
import { LogTime } from "./log_time.ts";
import type { HeardClock } from "./pulses.ts";

/** A voter's clock that was not heard for so long is looked for in the pulses of its node. */
const CLOCK_MS_MAX = 1000;

export type GroupTimeHost = {
  readonly clock: Clock;
  clockOf(node: string): HeardClock | null;
};

export class GroupTime {
  readonly #host: GroupTimeHost;
  readonly #self: ReplicaId;
  readonly #logTime = new LogTime();
  /** Highest time sealed or seen in an entry. */
  #timeMs: number;
  /** The leader's time as of the last append, and when that came (monotonic); -1: none came yet. */
  #leaderTimeMs = 0;
  #leaderTimeAtMs = -1;

  constructor(host: GroupTimeHost, self: ReplicaId, logTimeMs: number) {
    this.#host = host;
    this.#self = self;
    this.#timeMs = logTimeMs;
  }

  /** The log has come to this time. */
  noteLog(timeMs: number): void {
    this.#timeMs = Math.max(this.#timeMs, timeMs);
  }

  /** A batch came that the leader has just stamped. */
  noteLeader(timeMs: number): void {
    this.#leaderTimeMs = timeMs;
    this.#leaderTimeAtMs = this.#host.clock.monotonicMs();
  }

  /** A voter's wall clock came with its reply; one of another term says nothing for this one. */
  hear(core: RaftCore, term: Term, replica: ReplicaId, wallMs: number): void {
    if (term === core.term) this.#logTime.hear(term, replica, wallMs, this.#host.clock.monotonicMs());
  }

  /** What the leader would stamp on a batch now. */
  now({ term, config }: RaftCore): number {
    const { clock } = this.#host;
    const nowMs = clock.monotonicMs();
    const voters: ReplicaId[] = [];
    for (const { replica, node } of config.voters) {
      if (replica === this.#self) continue;
      voters.push(replica);
      if (this.#logTime.isStale(replica, nowMs - CLOCK_MS_MAX)) this.#hearPulse(term, replica, node, nowMs);
    }
    return this.#logTime.stamp(term, this.#timeMs, voters, nowMs, clock.wallMs());
  }

  /** A voter at rest sends no replies: its node's pulses bring the same clock. */
  #hearPulse(term: Term, replica: ReplicaId, node: string, nowMs: number): void {
    const heard = this.#host.clockOf(node);
    if (heard === null || heard.atMs < nowMs - CLOCK_MS_MAX) return;
    this.#logTime.hear(term, replica, heard.wallMs, heard.atMs);
  }

  /** What is stamped on the batch that is sealed now: time moves on with it. */
  stamp(core: RaftCore): number {
    this.#timeMs = this.now(core);
    return this.#timeMs;
  }

  /**
   * What the leader's time is about now, seen from a follower: its last stamp as it arrived, carried on by this
   * node's monotonic clock, since its wall clock may step. Only for `notAfter` of retries, where seconds do not
   * matter.
   */
  estimate(logTimeMs: number): number {
    const { clock } = this.#host;
    const sinceMs = clock.monotonicMs() - this.#leaderTimeAtMs;
    const now = this.#leaderTimeAtMs < 0 ? clock.wallMs() : Math.floor(this.#leaderTimeMs + sinceMs);
    return Math.max(logTimeMs, now);
  }
}
