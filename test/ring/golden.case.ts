/** Owners of a few layouts, and a plan, as files: they may never change. UPDATE=1 rewrites them. */
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import t from "tap";
import { crc32 } from "../../src/base/checksum.ts";
import { Assignment } from "../../src/ring/assignment.ts";
import { figuresOf } from "../../src/ring/figures.ts";
import {
  type Balance,
  countOwners,
  ownerOf,
  type Ring,
  rangesOfRing,
  ringOf,
} from "../../src/ring/layout.ts";
import { planMoves } from "../../src/ring/plan.ts";
import { SLOT_COUNT } from "../../src/ring/slot.ts";
import { h64, layoutOf, numbered } from "./hash.ts";

const ringOfShards = (shards: readonly string[], vnodes: number): Ring =>
  ringOf(layoutOf(shards, vnodes), h64);

/** CRC-32 of the owners' ids, one a slot, each with a newline. */
function ownersHash(ring: Ring): string {
  const text = Array.from({ length: SLOT_COUNT }, (_, slot) => `${ownerOf(ring, slot)}\n`).join("");
  return crc32(new TextEncoder().encode(text)).toString(16).padStart(8, "0");
}

function printRing(ring: Ring, withRanges: boolean): string {
  const { vnodes, shards } = ring.layout;
  const counts = countOwners(ring.owners, shards.length);
  const ranges = rangesOfRing(ring);
  const lines = [
    `${vnodes} points for a weight of 1; ${ranges.length} ranges; crc32 of owners ${ownersHash(ring)}`,
    "",
  ];
  for (const [i, { id, weight }] of shards.entries())
    lines.push(`${id}  weight ${weight}  slots ${counts[i]}`);
  if (withRanges) lines.push("", ...ranges.map(({ slots, shard }) => `${slots[0]}-${slots[1]} ${shard}`));
  return `${lines.join("\n")}\n`;
}

function printPlan(before: Ring, after: Ring): string {
  const fact = Assignment.ofRing(before);
  const plan = planMoves(fact, after);
  const { shards, balanceBefore, balanceAfter, slotsMoved } = figuresOf(plan, fact, after.layout);
  const shown = ({ min, max }: Balance): string => `${min.toFixed(3)}-${max.toFixed(3)}`;
  const lines = [`${slotsMoved} slots in ${plan.moves.length} moves`];
  lines.push(`balance ${shown(balanceBefore)} before, ${shown(balanceAfter)} after`, "");
  for (const shard of shards) lines.push(`${shard.id}  ${shard.slotsBefore} -> ${shard.slotsAfter} slots`);
  lines.push("");
  for (const { from, to, slots, slotCount } of plan.moves) {
    const [first] = slots[0] ?? [];
    lines.push(
      `${from} -> ${to}  ${slotCount} slots from ${first} to ${slots.at(-1)?.[1]} in ${slots.length} ranges`,
    );
  }
  return `${lines.join("\n")}\n`;
}

function golden(name: string, text: string): void {
  t.test(`golden: testdata/ring/${name}.txt`, async (t) => {
    const path = `testdata/ring/${name}.txt`;
    if (process.env.UPDATE === "1") writeFileSync(path, text);
    t.equal(text, existsSync(path) ? readFileSync(path, "utf8") : "");
  });
}

golden("three-shards-64", printRing(ringOfShards(numbered(3), 64), true));
golden("three-shards-256", printRing(ringOfShards(numbered(3), 256), false));
golden("weights-32", printRing(ringOfShards(["s1", "s2*2", "s3*0.5", "archive*0.25"], 32), true));
golden("sixteen-shards-256", printRing(ringOfShards(numbered(16), 256), false));
golden("plan-add-s4", printPlan(ringOfShards(numbered(3), 256), ringOfShards(numbered(4), 256)));
golden(
  "plan-replace-two",
  printPlan(ringOfShards(["s1", "s2", "s3"], 256), ringOfShards(["s2", "s4", "s5*2"], 256)),
);
