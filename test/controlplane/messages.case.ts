/** Messages of the control plane, byte for byte (testdata/controlplane/messages.txt; UPDATE=1 writes them), and noise. */
import { readFileSync, writeFileSync } from "node:fs";
import t from "tap";
import { toHex, utf8 } from "../../src/base/bytes.ts";
import { Prng } from "../../src/base/prng.ts";
import { type Body, type ControlCommand, controlCommand } from "../../src/controlplane/commands.ts";
import { mapOf } from "../../src/controlplane/map.ts";
import { SETTINGS_DEFAULT } from "../../src/controlplane/state.ts";
import { clusterMap } from "../../src/wire/cluster_map.ts";
import {
  heartbeat,
  heartbeatReply,
  isFenced,
  type Order,
  registration,
} from "../../src/wire/control_plane.ts";
import {
  type ControlReply,
  type ControlRequest,
  controlReply,
  controlRequest,
} from "../../src/wire/control_request.ts";
import { decodeShape, encodeShape, type Shape, ShapeError } from "../../src/wire/msgpack.ts";
import { init, NOTHING_HEARD, newborn, old, plan, RECORD, register } from "./bodies.ts";
import { CLUSTER, Driver, id } from "./driver.ts";
import { beat, leads } from "./heard.ts";

const BODIES: readonly Body[] = [
  init(2, ["n1"]),
  register("n1"),
  {
    kind: "heard",
    node: "n1",
    incarnation: id("n1"),
    heard: { version: { restore: 1, index: 2 ** 40 }, epoch: 7, plan: 3 },
  },
  { kind: "node", node: "n1", action: "drain" },
  { kind: "desired", shard: "s1", add: ["n4"], remove: [], expected: null },
  plan(
    2,
    [...old("s1"), { id: "s2", weight: 0.5, newborn: newborn(2 ** 52, ["n2"]) }],
    [{ from: "s1", to: "s2", slots: [[0, 255]] }],
  ),
  { kind: "cutover", number: 2 },
  { kind: "cancel", number: 2 },
  { kind: "start", plan: 2, move: 0, tries: 1 },
  { kind: "outcome", epoch: 2, phase: "owned", record: RECORD },
  { kind: "assign", shard: "s1", claims: [{ epoch: 3, slots: [[1, 2]] }] },
  { kind: "formed", shard: "s1" },
  { kind: "retire", shard: "s1" },
  { kind: "lost", shard: "s1" },
  { kind: "adopt", shard: "s9", group: 9, replicas: ["n1"] },
  { kind: "settings", settings: SETTINGS_DEFAULT },
  { kind: "restored", token: id("t") },
];

const ORDERS: readonly Order[] = [
  {
    kind: "create",
    group: 7,
    shard: "s1",
    replica: 1,
    incarnation: id("n1"),
    bootstrap: Uint8Array.of(1, 2),
  },
  { kind: "close", group: 7, replica: 1 },
  { kind: "want", group: 7, version: 4, voters: ["n1", "n2"] },
  { kind: "lead", group: 7, term: 9, to: "n2" },
  { kind: "move", epoch: 5, from: "s1", to: "s2", slots: [[3, 9]], hold: true, bytesPerSecond: 1024 },
  { kind: "abort", epoch: 5, to: "s2" },
  { kind: "settle", epoch: 5, from: "s1", to: "s2" },
  { kind: "unseal", epoch: 5, from: "s1" },
  { kind: "release", epoch: 5, from: "s1" },
  { kind: "take", epoch: 5, from: "s1", to: "s2", slots: [[3, 9]] },
];

const REQUESTS: readonly ControlRequest[] = [
  { kind: "register", cluster: null, registration: register("n1").registration },
  { kind: "register", cluster: CLUSTER, registration: register("n2").registration },
  { kind: "beat", heartbeat: beat("n1", [leads(101, "n1", ["n1", "n2"])]) },
  { kind: "map" },
  { kind: "http", method: "POST", path: "/reshard/plan?dry-run", body: utf8('{"epoch":2}') },
];

const REPLIES: readonly ControlReply[] = [
  { kind: "registered", cluster: CLUSTER, fence: { restore: 1, term: 3 } },
  { kind: "refused", text: "CONFLICT node 'n2' is at 127.0.0.1:7001 already" },
  {
    kind: "beat",
    reply: {
      fence: { restore: 1, term: 3 },
      standing: "known",
      beatMs: 100,
      version: { restore: 1, index: 9 },
      issued: { epoch: 5, plan: 2 },
      orders: ORDERS,
    },
  },
  { kind: "http", status: 409, type: "application/json", body: utf8("{}") },
  { kind: "elsewhere", leader: null },
  { kind: "elsewhere", leader: "127.0.0.1:7101" },
];

type Sample = { readonly name: string; readonly shape: Shape<never>; readonly value: unknown };

function samples(): Sample[] {
  const driver = new Driver();
  driver.run(register("n1"));
  driver.run(init(2, ["n1"]));
  const all: Sample[] = [];
  const add = <T>(name: string, shape: Shape<T>, value: T): void =>
    void all.push({ name, shape: shape as Shape<never>, value });
  for (const body of BODIES)
    add(`command ${body.kind}`, controlCommand, { request: body.kind === "node" ? id("r") : null, body });
  add("registration", registration, register("n1").registration);
  const moves = [
    {
      epoch: 5,
      side: "target" as const,
      phase: "owned" as const,
      keys: 1,
      keysTotal: 2,
      bytes: 3,
      record: RECORD,
    },
  ];
  const slots = [{ epoch: 1, slots: [[0, 8191]] as const }];
  add("heartbeat", heartbeat, beat("n1", [leads(101, "n1", ["n1", "n2"], { moves, slots })]));
  for (const order of ORDERS) {
    const reply = {
      fence: { restore: 1, term: 3 },
      standing: "known" as const,
      beatMs: 1000,
      version: NOTHING_HEARD.version,
      issued: { epoch: 5, plan: 2 },
      orders: [order],
    };
    add(`reply with ${order.kind}`, heartbeatReply, reply);
  }
  add(
    "map",
    clusterMap,
    mapOf(driver.state, () => ({ node: "n1", term: 2 })),
  );
  for (const request of REQUESTS) add(`request ${request.kind}`, controlRequest, request);
  const map = mapOf(driver.state, () => null);
  for (const reply of [...REPLIES, { kind: "map" as const, map }])
    add(`answer ${reply.kind}`, controlReply, reply);
  return all;
}

t.test("messages are these bytes, and are read back", async (t) => {
  const path = "testdata/controlplane/messages.txt";
  let after = "";
  for (const { name, shape, value } of samples()) {
    const bytes = encodeShape(shape, value as never);
    after += `${name}\n${toHex(bytes).replace(/.{96}/g, "$&\n").trimEnd().replace(/^/gm, "  ")}\n`;
    t.same(decodeShape(shape, bytes, name), value, name);
  }
  if (process.env.UPDATE === "1") writeFileSync(path, after);
  else t.equal(after, readFileSync(path, "utf8"));
});

t.test("cut or changed messages are errors or other messages, never exceptions", async (t) => {
  const random = Prng.fromSeed(4);
  let refused = 0;
  for (const { name, shape, value } of samples()) {
    const bytes = encodeShape(shape, value as never);
    for (let end = 0; end < bytes.length; end++)
      if (!(decodeShape(shape, bytes.subarray(0, end), name) instanceof ShapeError))
        t.fail(`${name} cut at ${end}`);
    for (let i = 0; i < 200; i++) {
      const wrong = bytes.slice();
      wrong[random.below(wrong.length)] = random.below(256);
      if (decodeShape(shape, wrong, name) instanceof ShapeError) refused++;
    }
  }
  t.ok(refused > 1000);
});

t.test("any command that can be read has a reply in any state", async (t) => {
  const random = Prng.fromSeed(9);
  const driver = new Driver();
  let taken = 0;
  for (let i = 0; i < 1500; i++) {
    const command: ControlCommand = { request: null, body: random.pick(BODIES) };
    const bytes = encodeShape(controlCommand, command);
    if (random.chance(1, 2)) bytes[random.below(bytes.length)] = random.below(256);
    const read = decodeShape(controlCommand, bytes, "command");
    if (read instanceof ShapeError) continue;
    const [reply] = driver.batch([read]);
    t.match(reply, /^(ok \d+|(CONFLICT|NOTFOUND|STALE|LIMIT|INVALID) .+)$/);
    if (reply?.startsWith("ok")) taken++;
  }
  t.ok(taken > 100);
  t.match(driver.store.stateHash(), /^[0-9a-f]{16}$/, "and what comes of it can be kept");
});

t.test("F10: orders under a lower fence than was seen are not obeyed", async (t) => {
  const seen = { restore: 2, term: 5 };
  t.same(
    [
      { restore: 2, term: 4 },
      { restore: 1, term: 9 },
      { restore: 2, term: 5 },
      { restore: 3, term: 1 },
    ].map((given) => isFenced(given, seen)),
    [true, true, false, false],
  );
});
