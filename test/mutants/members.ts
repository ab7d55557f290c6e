/** Seeded bugs in changes of members: their seeds are managed clusters, whose operators make such changes all the time. */
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
