/** Bad input of every kind against the compiled program; the long form is chaos/fuzz.ts. */
import t from "tap";
import { fuzz } from "../../chaos/fuzz.ts";
import { FIXED, startCluster } from "./cluster.ts";

t.test("J1 J3 J11 H7: hostile streams harm neither the node nor the client beside them", async (t) => {
  const { up, line } = await startCluster(t, FIXED, t.testdir());
  for (const { id, addr, pid } of line.nodes.slice(0, 2)) {
    const result = await fuzz(Number(addr.split(":")[1]), pid, 3000, Number(id.slice(1)));
    t.same(result.problems, [], `${id}: ${result.streams} streams, ${result.goodCalls} good calls`);
    t.ok(result.goodCalls > 0, "somebody was served meanwhile");
  }
  t.equal(up.stderr, "", "no child ended");
  t.equal(await up.stop(), 0);
});
