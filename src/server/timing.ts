/** What a node and its groups count time in. */

export const TICK_MS = 10;
/** A place at rest is looked at this often (roster.ts). */
export const LOOK_TICKS = 400;
/** No longer than this, with a second for late ticks. */
export const LOOK_MS = LOOK_TICKS * TICK_MS + 1000;

export type Timing = {
  readonly electionTicks: number;
  /** Between two heartbeats of a group, and between two pulses of a node. */
  readonly beatTicks: number;
  /** A node that was not heard for so long shares no rest: what is left of an election timeout is for elections. */
  readonly silenceTicksMax: number;
};

/** Six to a shortest election timeout: five heartbeats may be lost or late; of pulses two. */
export function timingOf(electionMs: number): Timing {
  const electionTicks = Math.round(electionMs / TICK_MS);
  const beatTicks = Math.max(1, Math.floor(electionTicks / 6));
  return { electionTicks, beatTicks, silenceTicksMax: Math.max(beatTicks, Math.floor(electionTicks / 2)) };
}
