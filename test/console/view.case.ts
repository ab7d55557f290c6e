/** Numbers, colours, and what is made of a snapshot. */
import t from "tap";
import { colors, format, model } from "./modules.ts";
import { move, node, QUIET, shard, snapshot } from "./snapshots.ts";

t.test("numbers as people read them", async (t) => {
  const { formatCount, formatBytes, formatDuration, formatShare, formatMany, formatRanges } = format;
  t.same([0, 999, 1000, 1234567, 12_345_678, 2.5e10].map(formatCount), [
    "0",
    "999",
    "1,000",
    "1,234,567",
    "12.3 M",
    "25 G",
  ]);
  t.same([0, 1023, 1024, 1536, 5 * 2 ** 30, 2 ** 52].map(formatBytes), [
    "0 B",
    "1023 B",
    "1 KiB",
    "1.5 KiB",
    "5 GiB",
    "4096 TiB",
  ]);
  t.same([0, 12.4, 3400, 119_000, 7_200_000, 864_000_000].map(formatDuration), [
    "0 ms",
    "12 ms",
    "3.4 s",
    "2 min",
    "2 h",
    "10 d",
  ]);
  t.same(
    [
      [0, 0],
      [0, 10],
      [1, 1000],
      [999, 1000],
      [10, 10],
    ].map(([a = 0, b = 0]) => formatShare(a, b)),
    ["0 %", "0 %", "< 1 %", "99 %", "100 %"],
  );
  t.same([formatMany(1, "node"), formatMany(0, "node")], ["1 node", "0 nodes"]);
  t.equal(
    formatRanges([
      [0, 99],
      [200, 200],
      [300, 301],
      [5, 6],
      [8, 9],
    ]),
    "0-99, 200, 300-301 and 2 ranges more",
  );
});

// ------------------------------------------------------------------------------------------- colours

type Triple = readonly [number, number, number];
type Matrix = readonly [Triple, Triple, Triple];

/** Full vision, and without red or green cones (Machado, Oliveira, Fernandes 2009, severity 1). */
const VISIONS: readonly Matrix[] = [
  [
    [1, 0, 0],
    [0, 1, 0],
    [0, 0, 1],
  ],
  [
    [0.152286, 1.052583, -0.204868],
    [0.114503, 0.786281, 0.099216],
    [-0.003882, -0.048116, 1.051998],
  ],
  [
    [0.367322, 0.860646, -0.227968],
    [0.280085, 0.672501, 0.047413],
    [-0.01182, 0.04294, 0.968881],
  ],
];
const TO_CONES: Matrix = [
  [0.4122214708, 0.5363325363, 0.0514459929],
  [0.2119034982, 0.6806995451, 0.1073969566],
  [0.0883024619, 0.2817188376, 0.6299787005],
];
const TO_LAB: Matrix = [
  [0.2104542553, 0.793617785, -0.0040720468],
  [1.9779984951, -2.428592205, 0.4505937099],
  [0.0259040371, 0.7827717662, -0.808675766],
];

function times(matrix: Matrix, [a, b, c]: Triple): Triple {
  const [x, y, z] = matrix.map(([p, q, r]) => p * a + q * b + r * c);
  return [x ?? 0, y ?? 0, z ?? 0];
}

function mapped([a, b, c]: Triple, by: (part: number) => number): Triple {
  return [by(a), by(b), by(c)];
}

/** Oklab of a colour as somebody sees it: equal distances are equally easy to tell. */
function seen(color: string, vision: Matrix): Triple {
  const value = Number.parseInt(color.slice(1), 16);
  const linear = mapped([value >> 16, (value >> 8) & 255, value & 255], (part) => {
    const share = part / 255;
    return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
  });
  const clamped = mapped(times(vision, linear), (part) => Math.min(1, Math.max(0, part)));
  return times(TO_LAB, mapped(times(TO_CONES, clamped), Math.cbrt));
}

function closest(palette: readonly string[]): number {
  let least = 1;
  for (const vision of VISIONS) {
    const all = palette.map((color) => seen(color, vision));
    for (const [i, a] of all.entries())
      for (const b of all.slice(0, i))
        least = Math.min(least, Math.hypot(a[0] - b[0], a[1] - b[1], a[2] - b[2]));
  }
  return least;
}

t.test("colours differ to people of every colour vision", async (t) => {
  t.equal(colors.PALETTE.length, 14);
  t.ok(closest(colors.PALETTE.slice(0, 4)) > 0.2, "the first four, plainly");
  t.ok(closest(colors.PALETTE.slice(0, 8)) > 0.1, "eight");
  t.ok(closest(colors.PALETTE) > 0.08, "all");
  t.ok(closest(["#d73027", "#1a9850"]) < 0.1, "and red beside green would be noticed");
  const many = Array.from({ length: 70 }, (_, i) => colors.colorAt(i));
  t.equal(new Set(many).size, 70, "no two of seventy are the same");
  t.same(
    many.filter((color) => !/^#[0-9a-f]{6}$/.test(color)),
    [],
  );
});

t.test("a shard keeps its colour", async (t) => {
  const { assignColors } = colors;
  const first = assignColors(["s1", "s2", "s3"]);
  t.same(
    [...first],
    [
      ["s1", 0],
      ["s2", 1],
      ["s3", 2],
    ],
  );
  const next = assignColors(["s1", "s10", "s3", "s3b", "x"], first);
  t.same(
    [...next].sort(),
    [
      ["s1", 0],
      ["s10", 9],
      ["s3", 2],
      ["s3b", 1],
      ["x", 3],
    ],
    "what is free is used, and nobody changes",
  );
  t.equal(assignColors(["s2", "a2"]).get("a2"), 2, "two that ask for one place");
  t.same([colors.inkOn("#f6ad3c"), colors.inkOn("#0d5c46")], ["#111318", "#ffffff"]);
});

// ------------------------------------------------------------------------------------------- snapshots

t.test("owners and moving slots", async (t) => {
  const { shards, owner, epoch } = model.ownersOf({
    version: { restore: 0, index: 1 },
    ranges: [
      [0, 9, "s2", 4],
      [20, 29, "s1", 1],
    ],
  });
  t.same(
    [owner[0], owner[9], owner[10], owner[20]].map((number) => shards[(number ?? 0) - 1]),
    ["s2", "s2", undefined, "s1"],
  );
  t.same([epoch[9], epoch[10], epoch[29]], [4, 0, 1]);
  const moves = [move("s1", "s2"), move("s1", "s2", { state: "running", slots: [[5, 6]] })];
  const moving = model.movingSlots({ ...QUIET, moves });
  t.same([moving[4], moving[5], moving[6], moving[7]], [0, 2, 2, 0], "what waits does not move yet");
});

t.test("the verdict is the worst that is so", async (t) => {
  const wordOf = (live: Parameters<typeof snapshot>[0]): string => {
    const { word, text } = model.verdictOf(snapshot(live).live);
    return `${word}: ${text}`;
  };
  const silent = [node("n1"), node("n2", { state: "suspect" })];
  const leaderless = [shard("s1", { leader: null }), shard("s2")];
  const changing = [shard("s1", { wanted: ["n1", "n2", "n4"] })];
  t.equal(wordOf({}), "Healthy: all nodes and leaders are there");
  t.equal(wordOf({ shards: [] }), "Empty: no layout yet");
  t.equal(wordOf({ shards: leaderless, nodes: silent }), "Unavailable: no leader: s1");
  t.equal(wordOf({ nodes: silent, shards: changing }), "Degraded: not heard: n2");
  t.equal(
    wordOf({ waitingFor: ["n1", "n2", "n3", "n4", "n5"] }),
    "Restored: waits for n1, n2, n3 and 2 more",
  );
  t.equal(wordOf({ shards: changing }), "Changing: replicas of s1");
});

t.test("an empty cluster says what to do next", async (t) => {
  t.match(model.nextStep(snapshot({ nodes: [], shards: [] }).live), {
    text: /no node has registered/,
    command: /^nucleus node --id n1/,
  });
  t.match(model.nextStep(snapshot({ shards: [], firstLayout: "2 nodes are missing" }).live), {
    text: /3 nodes registered.*waits: 2 nodes are missing/,
    command: "nucleus cluster init --shards 3 --replicas 3",
  });
});

t.test("totals, progress, rates", async (t) => {
  const nodes = [node("n1"), node("n2", { state: "dead" }), node("n3", { state: "excluded" })];
  t.match(model.totalsOf(snapshot({ nodes }).live), { commands: 100, keys: 200, alive: 1, nodes: 2, led: 2 });
  const moves = [
    move("a", "b", { state: "done" }),
    move("a", "b", { state: "running", keys: 30, keysTotal: 60 }),
    move("a", "b", { slotCount: 200 }),
  ];
  t.equal(model.progressOf({ ...QUIET, moves }), 0.375);
  t.equal(model.progressOf(QUIET), 0);
  const history = new model.History(5000);
  for (let i = 0; i <= 20; i++) history.add(i * 1000, i * 50);
  t.same([history.rate, history.max, history.samples.length], [50, 1000, 6], "of the last five seconds");
  history.add(21_000, 0);
  t.equal(history.rate, 0, "what fell begins anew");
});

t.test("how a replica stands", async (t) => {
  const usual = shard("s1", { wanted: ["n1", "n2", "n5"], voters: ["n1", "n2", "n3", "n4"] });
  const replicas = [
    { node: "n1", role: "leader" as const, applied: 9, lag: 0 },
    { node: "n2", role: "voter" as const, applied: 5, lag: 4 },
    { node: "n3", role: "voter" as const, applied: 9, lag: 0 },
  ];
  const textOf = (id: string): string => {
    const { role, text, notes = "" } = model.replicaText({ ...usual, replicas }, id);
    return `${role}|${text}|${notes}`;
  };
  t.same(["n1", "n2", "n3", "n4", "n5", "n6"].map(textOf), [
    "leader|leader|",
    "voter|voter|lag 4",
    "voter|voter|lag 0, leaves",
    "silent|voter, silent|",
    "coming|to come|",
    "none||",
  ]);
});
