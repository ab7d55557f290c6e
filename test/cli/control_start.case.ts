/** `nucleus control`: what it refuses before it begins, and why. */
import t from "tap";
import { NucleusError } from "../../src/base/errors.ts";
import { configOf } from "../../src/cli/control_command.ts";
import { backupOf } from "../../src/controlplane/backup.ts";
import { emptyState } from "../../src/controlplane/state.ts";

const USUAL = {
  id: "c1",
  listen: "127.0.0.1:7101",
  dir: "c1",
  init: false,
  "election-ms": 300,
  "segment-bytes": 16 * 1024 * 1024,
  "log-level": "info",
  "parent-pipe": false,
};
const THREE = "c1=127.0.0.1:7101,c2=127.0.0.1:7102,c3=127.0.0.1:7103";
const ID = "0123456789abcdef".repeat(2);

t.test("one alone, and one of three", async (t) => {
  t.match(configOf({ ...USUAL, init: true }), {
    peers: [{ id: "c1", port: 7101 }],
    cluster: null,
    http: null,
  });
  const three = configOf({ ...USUAL, peers: THREE, "cluster-id": ID, init: true, http: "127.0.0.1:8101" });
  t.same(
    three.peers.map(({ id }) => id),
    ["c1", "c2", "c3"],
  );
  t.match(three, { cluster: ID, http: { port: 8101 }, init: true });
  t.equal(configOf({ ...USUAL, peers: THREE }).cluster, null, "a later start: the directory knows");
});

t.test("from a backup: a new control plane of the same cluster, also when it starts again", async (t) => {
  const state = { ...emptyState(ID), epoch: 3 };
  const dir = t.testdir({ backup: JSON.stringify(backupOf(state)), c1: { "node.json": "{}" }, c2: {} });
  const restore = `${dir}/backup`;
  t.match(configOf({ ...USUAL, restore, dir: `${dir}/c2` }), {
    cluster: ID,
    init: true,
    backup: { cluster: ID },
  });
  t.match(
    configOf({ ...USUAL, restore, dir: `${dir}/c1` }),
    { cluster: ID, init: false },
    "it has begun already",
  );
  const three = { restore, dir: `${dir}/c2`, peers: THREE };
  t.match(configOf({ ...USUAL, ...three, "restore-id": ID }), { cluster: ID, init: true, restoreId: ID });
  t.match(
    configOf({ ...USUAL, ...three, dir: `${dir}/c1` }),
    { init: false },
    "which restore that was, the directory knows",
  );
  const refused = (part: object): unknown => {
    try {
      return configOf({ ...USUAL, restore, dir: `${dir}/c2`, ...part });
    } catch (error) {
      return error instanceof NucleusError ? error.message : error;
    }
  };
  t.match(refused({ "cluster-id": "f".repeat(32) }), /--cluster-id differs from the backup/);
  t.match(refused({ cluster: "layout.json" }), /--restore has one/);
  t.match(refused(three), /--restore with --peers needs --restore-id, new for each restore/);
  t.match(refused({ ...three, "restore-id": "12" }), /--restore-id must be 32 hex digits/);
  t.match(refused({ restore: undefined, "restore-id": ID }), /--restore-id goes with --restore/);
  t.match(refused({ restore: "package.json" }), /package.json cannot be used: it is no backup/);
  t.match(refused({ restore: "no such file" }), /cannot read the backup/);
});

const WRONG: readonly (readonly [object, RegExp])[] = [
  [{ id: "c 1" }, /--id must be 1 to 64 letters/],
  [{ listen: "7101" }, /--listen must be HOST:PORT/],
  [{ http: "x" }, /--http must be HOST:PORT/],
  [{ peers: "c2=127.0.0.1:7102" }, /--peers has no "c1"/],
  [
    { peers: "c1=127.0.0.1:7999" },
    /--listen 127.0.0.1:7101 differs from --peers, where c1 is at 127.0.0.1:7999/,
  ],
  [{ peers: "c1" }, /each of --peers must be HOST:PORT/],
  [{ peers: `${THREE},c1=127.0.0.1:7104` }, /names "c1" or its address twice/],
  [{ peers: THREE, init: true }, /needs --cluster-id, the same for all of them/],
  [{ "cluster-id": "12" }, /--cluster-id must be 32 hex digits/],
  [{ cluster: "no such file" }, /cannot read the file of the first layout/],
  [{ cluster: "package.json" }, /package.json cannot be used: the layout has an unknown field/],
];

t.test("what cannot be meant is said, and what may be", async (t) => {
  for (const [part, why] of WRONG) {
    try {
      configOf({ ...USUAL, ...part });
      t.fail(String(why));
    } catch (error) {
      if (!(error instanceof NucleusError)) throw error;
      t.match(error.message, why);
    }
  }
});
