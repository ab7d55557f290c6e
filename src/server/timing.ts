/** What a node and its groups count time in. */

export const TICK_MS = 10;
/** A place at rest is looked at this often (roster.ts). */
export const REST_LOOK_TICKS = 400;
/** No longer than this, with a second for late ticks. */
export const REST_LOOK_MS = REST_LOOK_TICKS * TICK_MS + 1000;

export type Timing = {
  readonly electionTicks: number;
  /** Between two heartbeats of a group. */
  readonly beatTicks: number;
  /** Between two pulses of a node. */
  readonly pulseTicks: number;
  /** A node that was not heard for so long shares no rest: what is left of an election timeout is for elections. */
  readonly silenceTicksMax: number;
};

/**
 * Six heartbeats to a shortest election timeout: five may be lost or late. Three pulses, since each wakes an idle node up; one
 * connection brings them, so none is lost, and one may be late by an interval and a half. An election comes at the earliest after
 * the shortest timeout: a silence that is noticed a sixth before that delays none.
 */
export function timingOf(electionMs: number): Timing {
  const electionTicks = Math.round(electionMs / TICK_MS);
  const beatTicks = Math.max(1, Math.floor(electionTicks / 6));
  const pulseTicks = Math.max(1, Math.floor(electionTicks / 3));
  const silenceTicksMax = Math.max(pulseTicks, Math.floor((electionTicks * 5) / 6));
  return { electionTicks, beatTicks, pulseTicks, silenceTicksMax };
}
