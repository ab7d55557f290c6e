/**
 * One seed, one run, on every runtime: the proof that nothing but the seed decides what happens in a simulated
 * world. The hash of a run covers every byte that was delivered or written, every log line, every draw's effect.
 *
 * Worlds of plain programs have golden hashes. Whole clusters change with the product, so their hashes are kept
 * beside a fingerprint of the sources, by whichever runtime runs first; the others must find the same.
 */
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import xxhash from "xxhash-wasm";
import { utf8 } from "../../src/base/bytes.ts";
import { crc32 } from "../../src/base/checksum.ts";
import { runTask } from "../../src/base/task.ts";
import { readFile, replaceFile } from "../../src/platform/files.ts";
import type { Connection, Platform } from "../../src/platform/platform.ts";
import { DISK_DEFAULT } from "../../src/sim/disk.ts";
import { NET_DEFAULT, Network } from "../../src/sim/net.ts";
import { managedPlanOfSeed } from "../../src/sim/plan_managed.ts";
import { Machine } from "../../src/sim/platform.ts";
import { runPlan, runSeed } from "../../src/sim/run.ts";
import { World } from "../../src/sim/world.ts";
import { end, ok, same } from "./tap.ts";

/** Of `worldHash` for seeds 1, 2, 3. They change only with the simulator itself. */
const GOLDEN_WORLDS: readonly string[] = ["babde0710f9e113e", "dde9b437fb1d8ffd", "061bda881bcde870"];
/** Seeds of whole clusters: three with faults of many kinds, one calm. */
const SEEDS = [4, 9, 20, 30] as const;
/** .. and of one with a control plane, for as long as a shard takes to be added. */
const MANAGED_SEED = 7;
const MANAGED_US = 6_000_000;

const { h64 } = await xxhash();

/** Three machines that write files, send each other numbers and die now and then. */
function worldHash(seed: number): string {
  const world = new World(seed);
  const net = new Network(world, { ...NET_DEFAULT, fragmentPerMillion: 300_000 });
  const disk = { ...DISK_DEFAULT, shortPerMillion: 100_000, slowPerMillion: 50_000 };
  const machines = [0, 1, 2].map((i) => new Machine(world, net, i, `m${i}`, { disk }));
  const random = world.stream("killer");
  for (const machine of machines) machine.start(chatter);
  for (let i = 1; i <= 20; i++) {
    world.after(i * 200_000, null, () => {
      const machine = random.pick(machines);
      if (random.chance(1, 2)) machine.kill();
      else machine.powerFailure();
      machine.stepWallClock(random.below(1000) - 500);
      world.after(random.below(100_000), null, () => {
        if (!machine.running) machine.start(chatter);
      });
    });
  }
  world.run(5_000_000);
  return world.violation === null ? world.trace.hash() : world.violation.message;
}

function chatter({ clock, disk, net, random, log }: Platform, machine: Machine): void {
  const connections: Connection[] = [];
  const events = (connection: Connection) => ({
    onOpen: () => void connections.push(connection),
    onData: (bytes: Uint8Array) => log.write("info", "heard", { bytes: bytes.length, sum: crc32(bytes) }),
    onDrain: () => {},
    onClose: (reason: string) => {
      connections.splice(connections.indexOf(connection) >>> 0, 1);
      log.write("info", reason, { atMs: clock.monotonicMs() });
    },
  });
  net.listen(
    machine.host,
    7,
    (connection) => (connection.events = events(connection)),
    () => {},
  );
  clock.ticks(50, (lateMs) => {
    const connection: Connection = net.dial(`m${random.u32() % 3}`, 7, {
      onOpen: () => connection.send(utf8(`late ${lateMs} at ${clock.wallMs()}`)),
      onData() {},
      onDrain() {},
      onClose() {},
    });
    const content = new Uint8Array(random.u32() % 3000);
    random.fill(content);
    runTask(replaceFile(disk, "/", `f${random.u32() % 4}`, content), (error) => {
      log.write("info", error === null ? "written" : error.message);
      runTask(readFile(disk, "/f0", 4096), (_, bytes) =>
        log.write("info", "read", { size: bytes?.length ?? -1 }),
      );
    });
  });
}

function fingerprint(directory: string): number {
  let sum = 0;
  for (const entry of readdirSync(directory, { recursive: true, withFileTypes: true }).sort(byPath)) {
    if (!entry.isFile() || !entry.name.endsWith(".ts")) continue;
    sum = crc32(readFileSync(`${entry.parentPath}/${entry.name}`), sum);
  }
  return sum;
}

function byPath(a: { parentPath: string; name: string }, b: { parentPath: string; name: string }): number {
  const [one, other] = [`${a.parentPath}/${a.name}`, `${b.parentPath}/${b.name}`];
  return one < other ? -1 : one > other ? 1 : 0;
}

function worlds(): void {
  const hashes = [1, 2, 3].map(worldHash);
  for (const [i, hash] of hashes.entries()) {
    same(worldHash(i + 1), hash, `world ${i + 1} runs the same way twice`);
    same(hash, GOLDEN_WORLDS[i], `world ${i + 1} has its golden hash`);
  }
}

function clusters(): void {
  const file = ".out/conformance/sim_hashes.json";
  const sources = fingerprint("src");
  const hashes: Record<string, string> = {};
  for (const seed of SEEDS) {
    const report = runSeed(seed, { story: "never" });
    hashes[String(seed)] = report.hash;
    ok(report.events > 10_000, `seed ${seed} did something: ${report.events} events`);
  }
  const managed = runPlan(
    { ...managedPlanOfSeed(MANAGED_SEED), horizonUs: MANAGED_US },
    { story: "never", h64 },
  );
  hashes[`managed ${MANAGED_SEED}`] = managed.hash;
  ok(managed.moves.done > 0, `slots moved: ${managed.moves.done} times`);
  let known: { sources: number; hashes: Record<string, string> } | null = null;
  try {
    known = JSON.parse(readFileSync(file, "utf8"));
  } catch {
    // The first runtime to run finds nothing.
  }
  if (known !== null && known.sources === sources) {
    same(hashes, known.hashes, "whole clusters run the same way as on the runtime before");
  } else {
    mkdirSync(".out/conformance", { recursive: true });
    writeFileSync(file, JSON.stringify({ sources, hashes }));
    same(
      runSeed(SEEDS[0], { story: "never" }).hash,
      hashes[String(SEEDS[0])],
      "a cluster runs the same way twice",
    );
  }
}

worlds();
clusters();
end();
