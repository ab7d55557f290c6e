/**
 * Every node, console and client computes the owners of slots by itself, so all must compute the same ones. The
 * expected hashes come from a second implementation, written from the definitions in another language.
 */
import xxhash from "xxhash-wasm";
import { crc32 } from "../../src/base/checksum.ts";
import { Assignment } from "../../src/ring/assignment.ts";
import { chooseShardId } from "../../src/ring/choose_id.ts";
import { type Layout, makeLayout, ownerOf, type Ring, ringOf } from "../../src/ring/layout.ts";
import { planMoves } from "../../src/ring/plan.ts";
import { SLOT_COUNT, slotOf } from "../../src/ring/slot.ts";
import { end, ok, same } from "./tap.ts";

const { h64 } = await xxhash();
const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);
const hashOf = (text: string): string => crc32(bytes(text)).toString(16).padStart(8, "0");

/** CRC-32 of the owners' ids, one a slot, each with a newline. */
function ownersHash(layout: Layout): string {
  const ring = ringOf(layout, h64);
  return hashOf(Array.from({ length: SLOT_COUNT }, (_, slot) => `${ownerOf(ring, slot)}\n`).join(""));
}

const numbered = (count: number, vnodes: number): Layout =>
  makeLayout({ number: 1, vnodes, shards: Array.from({ length: count }, (_, i) => ({ id: `s${i + 1}` })) });

function owners(): void {
  same(h64("").toString(16), "ef46db3751d8e999", "xxh64 of nothing");
  same(h64("abc").toString(16), "44bc2cf5ad770999", "xxh64 of three letters");
  same(slotOf(bytes("{user1000}.following"), 0, 20), 3443, "a slot of Redis Cluster");
  same(ownersHash(numbered(3, 64)), "b9ef38a0", "owners of 3 shards of 64 points");
  same(ownersHash(numbered(3, 256)), "d8f406fe", "owners of 3 shards of 256 points");
  same(ownersHash(numbered(16, 256)), "8fb24ccd", "owners of 16 shards of 256 points");
  same(ownersHash(numbered(64, 256)), "ba50384f", "owners of 64 shards of 256 points");
  const weights = { archive: 0.25, s1: 1, s2: 2, s3: 0.5 };
  const weighted = Object.entries(weights).map(([id, weight]) => ({ id, weight }));
  same(ownersHash(makeLayout({ number: 1, vnodes: 32, shards: weighted })), "6cac0b1e", "owners by weight");
  const long = [1, 2, 3].map((i) => ({ id: `a-shard-with-quite-a-long-name-${i}` }));
  same(ownersHash(makeLayout({ number: 1, shards: long })), "89999305", "owners with ids over 32 bytes");
}

/** What follows from owners has one answer too: hashes that one runtime gave, for the others to agree with. */
function plans(): void {
  const [before, after]: [Ring, Ring] = [ringOf(numbered(5, 256), h64), ringOf(numbered(9, 256), h64)];
  const fact = Assignment.ofRing(before);
  const plan = planMoves(fact, after);
  for (const [i, move] of plan.moves.entries()) fact.claim(move.slots, move.to, i + 2);
  ok(planMoves(fact, after).moves.length === 0, "a plan that was carried out leaves nothing to do");
  same(hashOf(JSON.stringify(plan)), "97eec0fc", "the plan from 5 shards to 9");
  same(hashOf(JSON.stringify(fact.claims())), "69a345db", "the assignment after it");
  const { id, balance } = chooseShardId(numbered(7, 256), 1, [], h64);
  same(
    [id, balance],
    ["s8m", { min: 0.95751953125, max: 1.0283203125 }],
    "the id for an eighth shard, and how it balances",
  );
}

owners();
plans();
end();
