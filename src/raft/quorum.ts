/**
 * Majorities, plain and joint (thesis 4.3): in a joint phase a majority of the new voters *and* a majority of
 * the old ones must agree. Everything that needs agreement - commit index, confirmed reads, votes, the leader's
 * contact with its group - asks here, so the two-majorities rule is written once.
 *
 * An empty set forbids nothing: that is how `outgoing` outside of a joint phase has no say.
 */
import type { Member, ReplicaId } from "./types.ts";

export type Outcome = "won" | "lost" | "open";

/** The highest value that a majority of `values` has reached; Infinity for none. Sorts `values` in place. */
export function majorityValue(values: number[]): number {
  if (values.length === 0) return Number.POSITIVE_INFINITY;
  // Insertion sort: at most a few dozen numbers, nearly sorted, and no comparison function to call.
  for (let i = 1; i < values.length; i++) {
    const value = values[i] as number;
    let at = i;
    while (at > 0 && (values[at - 1] as number) > value) {
      values[at] = values[at - 1] as number;
      at--;
    }
    values[at] = value;
  }
  return values[(values.length - 1) >> 1] as number;
}

/** The highest value that majorities of both sets have reached. Sorts both in place. */
export function jointValue(voters: number[], outgoing: number[]): number {
  return Math.min(majorityValue(voters), majorityValue(outgoing));
}

/** How an election stands among `voters`, given the answers so far. Answers of others do not count. */
function majorityOutcome(voters: readonly Member[], answers: ReadonlyMap<ReplicaId, boolean>): Outcome {
  if (voters.length === 0) return "won";
  let granted = 0;
  let refused = 0;
  for (const { replica } of voters) {
    const answer = answers.get(replica);
    if (answer === true) granted++;
    else if (answer === false) refused++;
  }
  const majority = (voters.length >> 1) + 1;
  if (granted >= majority) return "won";
  return voters.length - refused < majority ? "lost" : "open";
}

export function jointOutcome(
  voters: readonly Member[],
  outgoing: readonly Member[],
  answers: ReadonlyMap<ReplicaId, boolean>,
): Outcome {
  const incoming = majorityOutcome(voters, answers);
  const leaving = majorityOutcome(outgoing, answers);
  if (incoming === "lost" || leaving === "lost") return "lost";
  return incoming === "won" && leaving === "won" ? "won" : "open";
}
