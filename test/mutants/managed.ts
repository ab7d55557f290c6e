/**
 * Seeded bugs in changes of members, restores and declared losses: their seeds are managed clusters, whose operators make
 * such changes all the time, and in a few of which there is such a disaster.
 */
import type { Mutant } from "./mutants.ts";

export const MEMBERS: readonly Mutant[] = [
  {
    number: 11,
    name: "E1: a change of members goes on to its second half before the first one is committed",
    managed: true,
    edits: [
      {
        file: "src/raft/membership.ts",
        find: "  if (configIndex > s.commit || !s.committedInTerm) return;\n",
        replace: "  void configIndex;\n",
      },
    ],
  },
  {
    number: 12,
    name: "E2: a change of members begins while another one is under way",
    managed: true,
    edits: [
      {
        file: "src/raft/membership.ts",
        find: '  if (isJoint(s.log.config) || s.log.configIndex > s.commit) return "change_in_flight";\n',
        replace: "  void isJoint;\n",
      },
      {
        file: "src/server/replacement.ts",
        find: "    if (core.configIndex > group.store.appliedIndex || core.config.outgoing.length > 0) return;\n",
        replace: "    if (core.config.outgoing.length > 0) return;\n",
      },
    ],
  },
  {
    number: 13,
    name: "D11: a snapshot names the members of now, and not those at its index",
    managed: true,
    edits: [
      {
        file: "src/raft/core.ts",
        find: "config: log.configAt(index) };",
        replace: "config: log.config };",
      },
    ],
  },
];

export const DISASTERS: readonly Mutant[] = [
  {
    number: 44,
    name: "F9: a restored control plane begins at the epochs of its backup",
    managed: true,
    edits: [
      {
        file: "src/controlplane/node_transitions.ts",
        find: "const epoch = Math.max(state.epoch, isAnew ? eraAfter(heard.epoch) : heard.epoch);",
        replace: "const epoch = isAnew ? state.epoch : Math.max(state.epoch, heard.epoch);",
      },
      {
        file: "src/controlplane/node_transitions.ts",
        find: "  const epoch = eraAfter(state.epoch);\n",
        replace: "  const epoch = eraAfter(0) + state.epoch;\n",
      },
    ],
  },
  {
    number: 45,
    name: "F2: while a shard is lost, slots of others are taken as empty too",
    managed: true,
    edits: [
      {
        file: "src/controlplane/move_orders.ts",
        find: '  if (state.shards.get(from)?.state === "lost")\n    return toLeader',
        replace: '  if (ordered(state.shards).some((shard) => shard.state === "lost"))\n    return toLeader',
      },
    ],
  },
  {
    number: 46,
    name: "revisions: who takes slots of a lost shard gives its revisions out again",
    managed: true,
    edits: [
      {
        file: "src/wire/epochs.ts",
        find: "return Math.min(eraOf(epoch), REVISION_ERAS_MAX) * ERA_REVISIONS;",
        replace: "return Math.min(eraOf(epoch), REVISION_ERAS_MAX);",
      },
    ],
  },
];
