/** Who the other nodes were: a lost disk does not speak for its former owner. */
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import t from "tap";
import { runTask } from "../../src/base/task.ts";
import { createPlatform } from "../../src/platform/node.ts";
import { loadPeers } from "../../src/server/identity.ts";
import { KnownPeers } from "../../src/server/known_peers.ts";

const platform = createPlatform({ write() {} });

async function untilHeard(known: KnownPeers, node: string, incarnation: string): Promise<string | null> {
  for (let i = 0; i < 500; i++) {
    const problem = known.problem(node, incarnation);
    if (problem === null || !problem.includes("when that is on disk")) return problem;
    await new Promise((done) => setTimeout(done, 10));
  }
  return "never";
}

t.test(
  "A12: a node that comes back with another data directory is not listened to, after a restart neither",
  async (t) => {
    const dir = mkdtempSync(join(tmpdir(), "nucleus-peers-"));
    t.teardown(() => rmSync(dir, { recursive: true }));
    const known = new KnownPeers(platform, dir, new Map());
    t.match(known.problem("n2", "aa"), /when that is on disk/, "not believed before it lasts");
    t.equal(await untilHeard(known, "n2", "aa"), null);
    t.equal(await untilHeard(known, "n3", "cc"), null);
    t.match(known.problem("n2", "bb"), /another data directory/);
    t.equal(known.problem("n2", "aa"), null, "the true one still is");
    t.same(JSON.parse(readFileSync(join(dir, "peers.json"), "utf8")), { n2: "aa", n3: "cc" });

    const loaded = await new Promise<Map<string, string>>((done, failed) => {
      runTask(loadPeers(platform.disk, dir), (error, peers) =>
        error === null ? done(peers) : failed(error),
      );
    });
    const again = new KnownPeers(platform, dir, loaded);
    t.equal(again.problem("n3", "cc"), null);
    t.match(again.problem("n3", "dd"), /another data directory/);
  },
);
