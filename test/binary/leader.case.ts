/** `leader move`: leadership goes where it is told, writes go on, and what cannot be is refused. */
import t from "tap";
import type { ClusterView } from "../../src/cli/cluster_view.ts";
import { FIXED, nucleus, startCluster } from "./cluster.ts";

const statusOf = (port: string): ClusterView => JSON.parse(nucleus(["status", "-p", port, "--json"]).stdout);

t.test("leadership moves to a named node and back, under a cleanly stopped leader too", async (t) => {
  const { up, port, line } = await startCluster(t, FIXED, t.testdir());
  for (const { id } of line.nodes) {
    const moved = nucleus(["leader", "move", id, "-p", port]);
    t.equal(moved.status, 0, moved.stderr);
    t.match(moved.stdout, new RegExp(`^${id} leads s1 `));
    t.equal(statusOf(port).shards[0]?.leader, id);
    t.equal(nucleus(["repl", "-p", port, "INCR", "moves"]).status, 0, "writes go on");
  }
  t.equal(nucleus(["repl", "-p", port, "GET", "moves"]).stdout, "3\n", "and each took effect once");
  const again = nucleus(["leader", "move", "n3", "-p", port, "--json"]);
  t.match(JSON.parse(again.stdout), { shard: "s1", leader: "n3", moved: false });

  const unknown = nucleus(["leader", "move", "n9", "-p", port]);
  t.equal(unknown.status, 3);
  t.match(unknown.stderr, "n9 holds no replica of s1.\n  It may be n1, n2 and n3.\n");

  const leader = line.nodes.find(({ id }) => id === "n3");
  process.kill(leader?.pid ?? 0, "SIGTERM");
  const write = nucleus(["repl", "-p", port, "INCR", "moves"]);
  t.equal(write.stdout, "4\n", `a leader that is stopped hands over first: ${write.stderr}`);
  t.equal(await up.stop(), 0);
});
