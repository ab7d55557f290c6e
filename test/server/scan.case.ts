/** SCAN at the door, over shards whose slots lie mixed: how far one call goes, and what it must not miss. */
import fc from "fast-check";
import t from "tap";
import { utf8 } from "../../src/base/bytes.ts";
import { slotOf } from "../../src/ring/slot.ts";
import { SLOT_MOVING, SLOT_NOT_SERVED } from "../../src/server/fate.ts";
import { COMMAND_TICKS_MAX } from "../../src/server/router.ts";
import { Probe } from "../../src/store/hash.ts";
import { CommandView, OP } from "../../src/wire/command.ts";
import { FORWARD_STATUS } from "../../src/wire/peer_encode.ts";
import { A, B, mapOf, routingWorld, type Sent } from "./routing_world.ts";

const TWO_32 = 2 ** 32;
const SLOTS = 16_384;

function placeOf(key: string): number {
  const bytes = utf8(key);
  const probe = new Probe();
  probe.aim(bytes, 0, bytes.length);
  return slotOf(bytes, 0, bytes.length) * TWO_32 + (probe.hash >>> 0);
}

function byTurns(run: number) {
  const ranges: [number, number, number, number][] = [];
  const owner = new Array<number>(SLOTS);
  for (let first = 0, shard = 0; first < SLOTS; first += run, shard = 1 - shard) {
    const last = Math.min(SLOTS, first + run) - 1;
    ranges.push([first, last, shard, 1]);
    owner.fill(shard === 0 ? A : B, first, last + 1);
  }
  return { ranges, owner };
}

/** Two shards that own slots by turns of `run`, with some keys; what is sent to them is answered as they would. */
function world({ run = 64, keys = 2000 } = {}) {
  const it = routingWorld();
  const { ranges, owner } = byTurns(run);
  it.routing.setMap(mapOf({ ranges }));
  const all = Array.from({ length: keys }, (_, i) => ({ key: `k${i}`, place: placeOf(`k${i}`) }));
  all.sort((a, b) => a.place - b.place);
  let answered = 0;
  let rounds = 0;
  const reply = ({ group, id, bundle }: Sent): void => {
    for (let i = 0; i < bundle.count; i++) {
      const view = new CommandView();
      view.read(bundle.writer.bytes, bundle.start(i), bundle.endOf(i));
      const from = Number(view.bigint(0));
      if (owner[Math.floor(from / TWO_32)] !== group) {
        const slot = Math.floor(from / TWO_32);
        it.refuse(id, i, { slot, epoch: epoch + 1, group: owner[slot] as number, shard: "" });
        continue;
      }
      let end = Math.floor(from / TWO_32);
      while (end < SLOTS && owner[end] === group) end++;
      const mine = all.filter(({ place }) => place >= from && place < end * TWO_32);
      const page = mine.slice(0, view.number(1));
      const next = mine[page.length]?.place ?? (end === SLOTS ? 0 : end * TWO_32);
      it.answer(id, i, (sink) => {
        sink.array(2);
        sink.blob(utf8(String(next)), 0, String(next).length);
        sink.array(page.length);
        for (const { key } of page) sink.blob(utf8(key), 0, key.length);
      });
    }
  };
  const step = (): void => {
    it.ticks(1);
    if (answered < it.sent.length) rounds++;
    while (answered < it.sent.length) reply(it.sent[answered++] as Sent);
  };
  let tag = 0;
  let epoch = 1;
  const begin = (cursor: number, count: number): number => {
    const bytes = new Uint8Array(8);
    new DataView(bytes.buffer).setBigUint64(0, BigInt(cursor), true);
    it.admit(++tag, OP.scan, bytes, count, "", "");
    return tag;
  };
  const scan = (cursor: number, count: number, meanwhile = (): void => {}): [number, string[]] => {
    const mine = begin(cursor, count);
    while (!it.origin.replies.has(mine)) {
      meanwhile();
      step();
    }
    return pageOf(it.origin.replies.get(mine) as string);
  };
  /** The slot goes to the other shard; who asks the former owner is told. */
  const move = (slot: number): void => {
    epoch++;
    owner[slot] = owner[slot] === A ? B : A;
  };
  return { ...it, all, owner, begin, scan, step, move, rounds: () => rounds };
}

/** "*2 cursor *n key .." as FakeOrigin shows it. */
function pageOf(text: string): [number, string[]] {
  const words = text.split(" ").filter((word) => !word.startsWith("*"));
  return [Number(words[0]), words.slice(1)];
}

t.test("F13: a scan goes on over the shards until it has what was asked for, in a few rounds", (t) => {
  const { scan, all, rounds } = world();
  let cursor = 0;
  let calls = 0;
  const seen: string[] = [];
  do {
    const [next, keys] = scan(cursor, 500);
    t.ok(keys.length <= 500, "no more than asked for");
    seen.push(...keys);
    cursor = next;
    calls++;
  } while (cursor !== 0);
  t.same(
    seen,
    all.map(({ key }) => key),
    "each once, in the order of slots",
  );
  t.ok(calls <= 6, `${calls} calls for 256 runs of slots`);
  t.ok(rounds() <= 4 * calls, `${rounds()} rounds`);
  t.end();
});

t.test("a scan of few keys over many shards is bounded in what it asks, and goes on where it ended", (t) => {
  const { scan, sent } = world({ run: 8, keys: 3 });
  const seen = new Set<string>();
  let cursor = 0;
  let calls = 0;
  do {
    const before = sent.reduce((sum, { bundle }) => sum + bundle.count, 0);
    const [next, keys] = scan(cursor, 10);
    const asked = sent.reduce((sum, { bundle }) => sum + bundle.count, 0) - before;
    t.ok(asked <= 256, `${asked} runs`);
    for (const key of keys) seen.add(key);
    cursor = next;
    calls++;
  } while (cursor !== 0);
  t.equal(seen.size, 3);
  t.ok(calls <= 12, `${calls} calls for 2048 runs`);
  t.end();
});

t.test("F12, F13: slots move while a scan goes on: a key that stays is met all the same", (t) => {
  fc.assert(
    fc.property(
      fc.array(fc.integer({ min: 0, max: SLOTS - 1 }), { minLength: 50, maxLength: 200 }),
      fc.integer({ min: 20, max: 200 }),
      fc.integer({ min: 64, max: 2000 }),
      (moves, count, run) => {
        const { scan, all, move } = world({ run, keys: 300 });
        const seen = new Set<string>();
        let at = 0;
        let cursor = 0;
        do {
          const [next, keys] = scan(cursor, count, () => {
            for (let k = 0; k < 4 && at < moves.length; k++) move(moves[at++] as number);
          });
          for (const key of keys) seen.add(key);
          if (next !== 0 && next <= cursor) return false;
          cursor = next;
        } while (cursor !== 0);
        return all.every(({ key }) => seen.has(key));
      },
    ),
    { seed: 7, numRuns: 25 },
  );
  t.pass();
  t.end();
});

t.test(
  "a shard that does not answer ends the page before its slots; one at the cursor is the answer",
  (t) => {
    const { begin, sent, ticks, step, origin, say, owner } = world({ run: 4096 });
    const cursorOf = (tag: number): number => pageOf(origin.replies.get(tag) as string)[0];
    const first = begin(0, 1_000_000);
    step(); // the first run, of A
    ticks(1);
    const late = sent.filter(({ group }) => group === B);
    t.ok(late.length > 0, "the next ones are asked");
    ticks(2);
    t.notOk(origin.replies.has(first));
    ticks(20);
    t.equal(cursorOf(first), 4096 * TWO_32, "what is late is not waited for: the page ends before it");
    ticks(COMMAND_TICKS_MAX); // nobody minds what becomes of it
    const second = begin(4096 * TWO_32, 10);
    ticks(1);
    say((sent.at(-1) as Sent).id, 0, FORWARD_STATUS.refused, "CLUSTERDOWN no");
    t.equal(origin.replies.get(second), "-CLUSTERDOWN no");
    t.equal(owner[4096], B);
    t.equal(origin.lane.open, 0);
    t.end();
  },
);

t.test("a slot that is sealed at the cursor is waited for, up to a second; nothing is passed over", (t) => {
  const { begin, sent, ticks, refuse, origin } = world({ run: 4096 });
  const tag = begin(0, 10);
  let asked = 0;
  for (let i = 0; i < 200; i++) {
    ticks(1);
    for (; asked < sent.length; asked++)
      refuse((sent[asked] as Sent).id, 0, { slot: 0, epoch: 1, group: 0, shard: "" });
  }
  t.equal(origin.replies.get(tag), `-${SLOT_MOVING}`);
  t.ok(asked > 5, "it was asked again and again");
  t.end();
});

t.test("where the map has a hole a scan says so", (t) => {
  const it = routingWorld();
  it.routing.setMap(mapOf({ ranges: [[100, 200, 0, 1]] }));
  it.admit(1, OP.scan, new Uint8Array(8), 10, "", "");
  t.equal(it.origin.replies.get(1), `-${SLOT_NOT_SERVED}`);
  t.end();
});

t.test("G6: a native client may ask for more keys than a number can count", (t) => {
  const { admit, step, origin, all } = world({ run: 8192, keys: 20 });
  const most = new Uint8Array(8).fill(0xff);
  most[7] = 0x7f;
  admit(1, OP.scan, new Uint8Array(8), most, "", "");
  while (!origin.replies.has(1)) step();
  t.equal(pageOf(origin.replies.get(1) as string)[1].length, all.length);
  t.end();
});
