/** How a begun move finds the leader of its other side, whatever is known of it. */
import t from "tap";
import { MoveLine } from "../../src/server/move_line.ts";
import type { MoveMessage } from "../../src/wire/move_message.ts";

const ASK: MoveMessage = { kind: "ask", epoch: 1, from: 7, to: 8, abort: false };

t.test("F3: whoever leads the other side is asked in the end, however often something is said", (t) => {
  for (const every of [1, 3, 5, 10, 20, 50]) {
    for (const holders of [1, 2, 3, 4, 5, 6]) {
      let tick = 0;
      const asked = new Set<string>();
      const nodes = Array.from({ length: holders }, (_, i) => `n${i}`);
      const line = new MoveLine(8, {
        tick: () => tick,
        nowMs: () => 10 * tick,
        leaderOf: () => "n0", // by a map of before
        holdersOf: () => nodes,
        nextAttempt: () => 1,
        send: (node) => {
          asked.add(node);
          return true;
        },
        wake() {},
        log() {},
      });
      for (; tick < 1000; tick += every) line.say(ASK);
      t.same([...asked].sort(), nodes, `${holders} nodes, each ${every} ticks`);
    }
  }
  t.end();
});
