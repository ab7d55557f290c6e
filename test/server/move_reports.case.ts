/** What a shard's leader tells the control plane of its moves. */
import t from "tap";
import xxhash from "xxhash-wasm";
import { encodeMoveStep } from "../../src/wire/move_entry.ts";
import { MoveTown } from "./town.ts";

const { h64 } = await xxhash();
const SHARDS = { s1: ["n1", "n2", "n3"], s2: ["n1", "n2", "n3"] };
const FIRST = 100;

t.test(
  "F3: a move that ended many moves ago is reported to a control plane that asks about it",
  async (t) => {
    const town = MoveTown.started(h64, { shards: SHARDS, nodes: 3, seed: 3 });
    town.killControls();
    const { group, node } = town.leaderOf("s1");
    const ended = Array.from({ length: 80 }, (_, i) => FIRST + i);
    for (const epoch of ended) {
      group.proposeMove(encodeMoveStep({ kind: "decline", epoch }));
      node.server?.engine.wake();
    }
    town.run(1_000_000);
    const movers = town.moversOf(node);
    const reported = (epoch: number): boolean =>
      movers.reportsOf(group).some((report) => report.epoch === epoch);
    t.ok(reported(FIRST + 79));
    t.notOk(reported(FIRST), "it is not among the last ones");
    for (const order of ["settle", "release"] as const) {
      const epoch = order === "settle" ? FIRST : FIRST + 1;
      movers.obey({ kind: order, epoch, from: "s1", to: "s2" });
      t.ok(reported(epoch), order);
    }
    for (const epoch of ended) movers.obey({ kind: "abort", epoch, to: "s1" });
    t.ok(movers.reportsOf(group).length <= 32, "a report has room for all of them");
    t.notOk(reported(FIRST), "others were asked for since");
  },
);
