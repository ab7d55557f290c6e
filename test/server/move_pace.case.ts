/** How fast a copy goes: what the pace allows, turn by turn. */
import t from "tap";
import { CHUNK_BYTES, MovePace } from "../../src/server/move_pace.ts";

/** Makes chunks for one turn with `open` on their way; how many there are then. */
function turn(pace: MovePace, open: number, nowMs: number, isSealed = false): number {
  let now = open;
  pace.beginTurn();
  while (pace.mayMake(now, isSealed, nowMs)) pace.made(CHUNK_BYTES, ++now, nowMs);
  return now;
}

t.test("while nobody asks for anything, two chunks leave in a turn, and eight are on their way", (t) => {
  const pace = new MovePace(100);
  pace.tick(0, 100);
  t.equal(pace.isBusy, false, "what came before the copy counts for nothing");
  t.same([turn(pace, 0, 0), turn(pace, 2, 0), turn(pace, 7, 0), turn(pace, 8, 0)], [2, 4, 8, 8]);
  t.equal(pace.mayGoOn(2, false), true);
  t.equal(pace.mayGoOn(8, false), false);
  t.end();
});

t.test("while clients are served one chunk goes, and a rest follows that is twenty times as long", (t) => {
  const pace = new MovePace(100);
  pace.tick(0, 101);
  t.equal(pace.isBusy, true);
  t.equal(turn(pace, 0, 1000), 1);
  t.equal(turn(pace, 1, 1002), 1, "it is not applied there yet");
  pace.taken(1010, false);
  t.equal(turn(pace, 0, 1209), 0, "it rests");
  t.equal(turn(pace, 0, 1210), 1);
  pace.taken(9000, false);
  t.equal(turn(pace, 0, 9499), 0);
  t.equal(turn(pace, 0, 9500), 1, "what took long because of something else delays it so much at most");
  pace.taken(9510, true);
  t.equal(turn(pace, 0, 9549), 0);
  t.equal(turn(pace, 0, 9550), 1, "four times as long when all was copied once");
  t.end();
});

t.test("after a fifth of a second without a command it goes as fast as it can again", (t) => {
  const pace = new MovePace(0);
  for (const commands of [1, ...new Array<number>(19).fill(1)]) pace.tick(0, commands);
  t.equal(pace.isBusy, true);
  pace.tick(0, 1);
  t.equal(pace.isBusy, false);
  pace.noteBusy();
  t.equal(pace.isBusy, true, "the target is used");
  t.end();
});

t.test(
  "whoever waits for sealed slots waits for all that is left: neither rests nor rates hold it up",
  (t) => {
    const pace = new MovePace(0);
    pace.tick(1, 1);
    t.equal(turn(pace, 0, 0), 1);
    pace.taken(100, false);
    t.same([turn(pace, 0, 101), turn(pace, 0, 101, true), turn(pace, 7, 101, true)], [0, 2, 8]);
    t.equal(pace.mayGoOn(2, true), true);
    t.equal(pace.mayGoOn(8, true), false);
    t.end();
  },
);

t.test("no more bytes leave than the rate allows", (t) => {
  const pace = new MovePace(0);
  pace.tick(100 * CHUNK_BYTES, 0);
  t.equal(turn(pace, 0, 0), 1, "a hundredth of a second's");
  t.equal(turn(pace, 0, 0), 0);
  pace.tick(100 * CHUNK_BYTES, 0);
  t.equal(turn(pace, 0, 0), 1);
  t.end();
});
