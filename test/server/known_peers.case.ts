/** Whose promises an id stands for: a lost disk does not speak for its former owner. */
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import t from "tap";
import { runTask } from "../../src/base/task.ts";
import { createPlatform } from "../../src/platform/node.ts";
import { loadPeers } from "../../src/server/identity.ts";
import { KnownPeers, type Standing } from "../../src/server/known_peers.ts";

const platform = createPlatform({ write() {} });

const GROUP = 7;

async function untilSettled(known: KnownPeers, replica: number, incarnation: string): Promise<Standing> {
  for (let i = 0; i < 500; i++) {
    const standing = known.standing(GROUP, replica, incarnation);
    if (standing !== "pending") return standing;
    await new Promise((done) => setTimeout(done, 10));
  }
  return "pending";
}

t.test(
  "A12: an id belongs to the directory that was first heard under it, after a restart too",
  async (t) => {
    const dir = mkdtempSync(join(tmpdir(), "nucleus-peers-"));
    t.teardown(() => rmSync(dir, { recursive: true }));
    const known = new KnownPeers(platform, dir, new Map());
    t.equal(known.standing(GROUP, 2, "aa"), "pending", "not believed before it lasts");
    t.equal(await untilSettled(known, 2, "aa"), "sound");
    t.equal(await untilSettled(known, 3, "cc"), "sound");
    t.equal(known.standing(GROUP, 2, "bb"), "foreign");
    t.equal(known.standing(GROUP, 2, "aa"), "sound", "the true one still is");
    t.equal(await untilSettled(known, 4, "bb"), "sound", "a new id is another matter");
    t.same(JSON.parse(readFileSync(join(dir, "peers.json"), "utf8")), {
      "7/2": "aa",
      "7/3": "cc",
      "7/4": "bb",
    });

    const loaded = await new Promise<Map<string, string>>((done, failed) => {
      runTask(loadPeers(platform.disk, dir), (error, peers) =>
        error === null ? done(peers) : failed(error),
      );
    });
    const again = new KnownPeers(platform, dir, loaded);
    t.equal(again.standing(GROUP, 3, "cc"), "sound");
    t.equal(again.standing(GROUP, 3, "dd"), "foreign");

    again.forgetOthers(GROUP, [4], 5);
    t.equal(await untilSettled(again, 5, "ee"), "sound");
    t.same(JSON.parse(readFileSync(join(dir, "peers.json"), "utf8")), { "7/4": "bb", "7/5": "ee" });
  },
);
