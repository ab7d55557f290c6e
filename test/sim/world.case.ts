import t from "tap";
import { Process, World } from "../../src/sim/world.ts";

t.test("events run in time order, and equal times in an order that the seed decides", async (t) => {
  const order = (seed: number): string => {
    const world = new World(seed);
    const ran: string[] = [];
    for (const name of ["a", "b", "c", "d"]) world.after(10, null, () => ran.push(name));
    world.after(5, null, () => ran.push("first"));
    world.after(20, null, () => ran.push("last"));
    t.ok(world.run(1_000), "nothing is left");
    t.equal(world.nowUs, 1_000);
    return ran.join(" ");
  };
  const orders = new Set<string>();
  for (let seed = 0; seed < 40; seed++) {
    const ran = order(seed);
    t.equal(ran, order(seed), "one seed, one order");
    t.match(ran, /^first .* last$/);
    orders.add(ran);
  }
  t.ok(orders.size > 8, `the seeds found ${orders.size} orders`);
});

t.test("a dead process never runs again, a cancelled event neither", async (t) => {
  const world = new World(1);
  const process = new Process(0, 0);
  const ran: string[] = [];
  world.after(1, process, () => ran.push("alive"));
  world.after(5, process, () => ran.push("dead"));
  world.cancel(world.after(2, null, () => ran.push("cancelled")));
  world.after(3, null, () => {
    process.alive = false;
    world.call(process, () => ran.push("called dead"));
  });
  world.run(100);
  t.same(ran, ["alive"]);
});

t.test("H4: a paused process gets its input in order before its timers fire", async (t) => {
  for (let seed = 0; seed < 20; seed++) {
    const world = new World(seed);
    const process = new Process(0, 0);
    const ran: string[] = [];
    process.pausedUntilUs = 1_000;
    world.timer(10, process, () => ran.push("timer"));
    for (let i = 0; i < 5; i++) world.after(20 + i, process, () => ran.push(`input ${i}`));
    world.after(50, null, () => world.call(process, () => ran.push("input 5")));
    world.run(999);
    t.same(ran, [], "nothing runs during the pause");
    world.run(2_000);
    t.same(ran, ["input 0", "input 1", "input 2", "input 3", "input 4", "input 5", "timer"]);
  }
});

t.test("H4: also if the pause was made longer meanwhile", async (t) => {
  const world = new World(1);
  const process = new Process(0, 0);
  const ran: string[] = [];
  process.pausedUntilUs = 1_000;
  world.timer(5, process, () => ran.push("timer"));
  world.after(10, process, () => ran.push("first"));
  world.after(500, null, () => {
    process.pausedUntilUs = 2_000;
  });
  world.after(600, process, () => ran.push("second"));
  world.timer(700, process, () => ran.push("late timer"));
  world.run(3_000);
  t.same(ran, ["first", "second", "timer", "late timer"]);
});

t.test("what a process throws ends the run as a violation", async (t) => {
  const world = new World(1);
  world.after(1, new Process(3, 0), () => {
    throw new Error("boom");
  });
  world.after(2, null, () => t.fail("nothing runs after a violation"));
  t.notOk(world.run(100));
  t.equal(world.violation?.rule, "crash");
  t.match(world.violation?.message, /process 3\.0 threw boom/);
});

t.test("one seed gives one hash; a fact more, less or other gives another", async (t) => {
  const hash = (seed: number, extra: number): string => {
    const world = new World(seed);
    const random = world.stream("test");
    for (let i = 0; i < 50; i++)
      world.after(random.below(100), null, () => world.note("tick", i, random.u32()));
    world.note("extra", 0, extra);
    world.run(1_000);
    return world.trace.hash();
  };
  t.equal(hash(7, 0), hash(7, 0));
  t.match(hash(7, 0), /^[0-9a-f]{16}$/);
  t.not(hash(7, 0), hash(8, 0));
  t.not(hash(7, 0), hash(7, 1));
});

t.test("recording changes the story's length and nothing else", async (t) => {
  const run = (recording: boolean): World => {
    const world = new World(3, { recording });
    for (let i = 0; i < 5; i++) world.after(i, null, () => world.note("step", i, i * 2, 0, `by ${i}`));
    world.run(10);
    return world;
  };
  t.equal(run(true).trace.hash(), run(false).trace.hash());
  t.equal(run(true).trace.lines().length, 5);
  t.equal(run(true).trace.lines()[1], "0.000001 #1 step by 1");
  t.equal(run(false).trace.lines().length, 0);
});
