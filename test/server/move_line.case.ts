/** How a begun move finds the leader of its other side, whatever is known of it. */
import t from "tap";
import { MoveLine } from "../../src/server/move_line.ts";
import type { MoveMessage } from "../../src/wire/move_message.ts";

const ASK: MoveMessage = { kind: "ask", epoch: 1, from: 7, to: 8, abort: false };

/** A line to a shard with replicas on `nodes`, of which the map takes the first for the leader. */
function lineTo(nodes: readonly string[], tick: () => number, asked: (node: string) => void): MoveLine {
  return new MoveLine(8, {
    tick,
    nowMs: () => 10 * tick(),
    leaderOf: () => nodes[0] as string,
    holdersOf: () => nodes,
    nextAttempt: () => 1,
    send: (node) => {
      asked(node);
      return true;
    },
    wake() {},
    log() {},
  });
}

t.test("F3: whoever leads the other side is asked in the end, however often something is said", (t) => {
  for (const every of [1, 3, 5, 10, 20, 50]) {
    for (const holders of [1, 2, 3, 4, 5, 6]) {
      let tick = 0;
      const asked = new Set<string>();
      const nodes = Array.from({ length: holders }, (_, i) => `n${i}`);
      const line = lineTo(
        nodes,
        () => tick,
        (node) => asked.add(node),
      );
      for (; tick < 1000; tick += every) line.say(ASK);
      t.same([...asked].sort(), nodes, `${holders} nodes, each ${every} ticks`);
    }
  }
  t.end();
});

t.test("F3: a side that had nothing to say for a while asks whoever answered last", (t) => {
  for (const restTicks of [1, 20, 50, 500]) {
    let tick = 0;
    const asked: string[] = [];
    const line = lineTo(
      ["n0", "n1", "n2"],
      () => tick,
      (node) => asked.push(node),
    );
    line.heard("n1");
    for (let i = 0; i < 5; i++) {
      tick += restTicks;
      line.say(ASK);
      line.heard("n1");
    }
    t.same(asked, Array(5).fill("n1"), `each ${restTicks} ticks`);
  }
  t.end();
});
