/** The config's bytes are total, and a change of it gives a config that can be written. */
import fc from "fast-check";
import t from "tap";
import { Reader, Writer } from "../../src/base/bytes.ts";
import {
  type ConfigChange,
  changeConfig,
  configOfEntry,
  ENTRY_BODY_OFFSET,
  encodeConfig,
  isJoint,
  leaveJoint,
  MEMBERS_MAX,
  NODE_NAME_BYTES_MAX,
  readConfig,
} from "../../src/raft/config.ts";
import { ENTRY_KIND, type GroupConfig, type Member } from "../../src/raft/types.ts";
import { BATCH_HEADER_BYTES } from "../../src/wire/batch.ts";
import { makeEntry } from "./cluster.ts";

const SEED = { seed: 20240229, numRuns: 500 };
const member = (replica: number): Member => ({ replica, node: `node-${replica}` });

/** Roles of the replicas 1..n: not there, voter, leaving, staying in both sets, learner. */
const configs: fc.Arbitrary<GroupConfig> = fc
  .tuple(fc.nat({ max: 1000 }), fc.array(fc.nat({ max: 4 }), { maxLength: 12 }))
  .map(([version, roles]) => {
    const having = (...wanted: readonly number[]): Member[] =>
      roles.flatMap((role, i) => (wanted.includes(role) ? [member(i + 1)] : []));
    return {
      version,
      voters: having(1, 3),
      outgoing: having(2, 3),
      learners: having(4),
      nextReplica: roles.length + 1,
    };
  });

t.test("an entry's body begins behind the batch header of the wire", async (t) => {
  t.equal(ENTRY_BODY_OFFSET, BATCH_HEADER_BYTES);
});

t.test("config: what is written is read, alone and with more behind it", async () => {
  fc.assert(
    fc.property(configs, (config) => {
      const bytes = encodeConfig(config);
      const reader = new Reader(new Uint8Array([...bytes, 7, 7]));
      const read = readConfig(reader);
      const entry = makeEntry(ENTRY_KIND.config, 1, 1, bytes, 1);
      return (
        JSON.stringify(read) === JSON.stringify(config) &&
        reader.left === 2 &&
        JSON.stringify(configOfEntry(entry)) === JSON.stringify(config)
      );
    }),
    SEED,
  );
});

t.test("config: golden bytes", async (t) => {
  const config = { version: 2, voters: [member(1)], outgoing: [], learners: [member(3)], nextReplica: 4 };
  const hex = Buffer.from(encodeConfig(config)).toString("hex");
  t.equal(
    hex,
    "40000000" + // size
      "0200000000000000" + // version
      "0400000000000000" + // nextReplica
      "01000000" + // voters
      "0100000000000000060000006e6f64652d31" +
      "00000000" + // outgoing
      "01000000" + // learners
      "0300000000000000060000006e6f64652d33",
  );
});

t.test("config: every truncation, and any bytes at all, give null or a config, never an error", async (t) => {
  const bytes = encodeConfig({
    version: 1,
    voters: [member(1), member(2)],
    outgoing: [],
    learners: [],
    nextReplica: 3,
  });
  for (let size = 0; size < bytes.length; size++) {
    t.equal(readConfig(new Reader(bytes.subarray(0, size))), null, `first ${size} bytes`);
  }
  for (let at = 0; at < bytes.length; at++) {
    for (const flip of [0x01, 0x80, 0xff]) {
      const damaged = bytes.slice();
      damaged[at] = (damaged[at] as number) ^ flip;
      const config = readConfig(new Reader(damaged));
      if (config !== null) t.doesNotThrow(() => encodeConfig(config), `byte ${at} flipped is consistent`);
    }
  }
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 80 }), (noise) => {
      const config = readConfig(new Reader(noise));
      return config === null || encodeConfig(config).length <= noise.length;
    }),
    SEED,
  );
});

t.test("config: what is inconsistent is neither written nor read", async (t) => {
  const good = { version: 1, voters: [member(1)], outgoing: [], learners: [], nextReplica: 3 };
  const many = Array.from({ length: MEMBERS_MAX + 1 }, (_, i) => member(i + 1));
  const bad: readonly [string, GroupConfig][] = [
    ["an id that was not handed out", { ...good, voters: [member(3)] }],
    ["id 0", { ...good, voters: [member(0)] }],
    ["the same id twice", { ...good, voters: [member(1), member(1)] }],
    ["ids out of order", { ...good, voters: [member(2), member(1)] }],
    ["a voter that is a learner", { ...good, learners: [member(1)] }],
    ["a leaving voter that is a learner", { ...good, outgoing: [member(2)], learners: [member(2)] }],
    ["one replica on two nodes", { ...good, outgoing: [{ replica: 1, node: "elsewhere" }] }],
    ["too many voters", { ...good, voters: many, nextReplica: 1000 }],
    [
      "a name that is too long",
      { ...good, voters: [{ replica: 1, node: "n".repeat(NODE_NAME_BYTES_MAX + 1) }] },
    ],
  ];
  for (const [what, config] of bad) {
    t.throws(() => encodeConfig(config), { name: "AssertionError" }, `${what}: written`);
    t.equal(readConfig(new Reader(unchecked(config))), null, `${what}: read`);
  }
});

/** The layout without the check. */
function unchecked(config: GroupConfig): Uint8Array {
  const body = new Writer();
  body.u64(config.version);
  body.u64(config.nextReplica);
  for (const list of [config.voters, config.outgoing, config.learners]) {
    body.u32(list.length);
    for (const { replica, node } of list) {
      body.u64(replica);
      body.text(node);
    }
  }
  const writer = new Writer();
  writer.blob(body.view());
  return writer.copy();
}

t.test("config: any change gives a refusal or a config that is consistent and reaches its end", async () => {
  const ids = fc.uniqueArray(fc.nat({ max: 13 }), { maxLength: 4 });
  const nodes = fc.array(fc.constantFrom("a", "b"), { maxLength: 2 });
  fc.assert(
    fc.property(configs, ids, ids, nodes, (joint, promote, remove, addLearners) => {
      fc.pre(joint.voters.length > 0); // else nobody could propose it
      const config = { ...joint, outgoing: [] };
      const change: ConfigChange = { version: config.version, promote, remove, addLearners };
      const next = changeConfig(config, change);
      if (typeof next === "string") return true;
      const end = isJoint(next) ? leaveJoint(next) : next;
      const kept = [...config.voters, ...config.learners].filter(({ replica }) => !remove.includes(replica));
      encodeConfig(next);
      encodeConfig(end);
      return (
        next.version === config.version + 1 &&
        end.voters.length > 0 &&
        end.voters.length + end.learners.length === kept.length + addLearners.length &&
        promote.every((id) => end.voters.some(({ replica }) => replica === id)) &&
        isJoint(next) === (JSON.stringify(end.voters) !== JSON.stringify(config.voters))
      );
    }),
    SEED,
  );
});
