import t from "tap";
import { getU64, utf8 } from "../../src/base/bytes.ts";
import { type Caller, ClientCore } from "../../src/client/core.ts";
import type { ClientError } from "../../src/client/errors.ts";
import { WINDOW_MAX } from "../../src/client/session.ts";
import type { Platform } from "../../src/platform/platform.ts";
import { slotOf } from "../../src/ring/slot.ts";
import { OP } from "../../src/wire/command.ts";
import { OPCODE } from "../../src/wire/native.ts";
import { Doors, errorOf, type Fate, type Rules } from "./doors.ts";

/** Remembers how each call ended. */
class Ends {
  readonly said: string[] = [];

  caller(name: string): Caller {
    return {
      onReply: (bytes, start) => this.said.push(`${name}: ${errorOf(bytes, start) ?? "ok"}`),
      onError: (error: ClientError) => this.said.push(`${name}: ${error.code} ${error.message}`),
    };
  }
}

const keyed = (core: ClientCore, op: number, key: string, caller: Caller, timeoutMs?: number) => {
  const bytes = utf8(key);
  const to = core.begin(op as typeof OP.get, slotOf(bytes, 0, bytes.length), caller, timeoutMs);
  to.arg(bytes);
  return to;
};

function incr(core: ClientCore, key: string, caller: Caller, timeoutMs?: number) {
  keyed(core, OP.incrBy, key, caller, timeoutMs).argI64(1);
  return core.end();
}

function get(core: ClientCore, key: string, caller: Caller, timeoutMs?: number) {
  keyed(core, OP.get, key, caller, timeoutMs);
  return core.end();
}

/** Keys of several slots: sent once. */
function msetWide(core: ClientCore, caller: Caller, timeoutMs?: number) {
  const to = core.begin(OP.mset, -1, caller, timeoutMs);
  for (const word of ["a", "1", "b", "2"]) to.arg(utf8(word));
  return core.end();
}

/** A client in a world with `count` doors; `program` runs at once. */
function world(count: number, rules: Rules, program: (core: ClientCore, ends: Ends) => void) {
  const doors = new Doors(1, count, rules);
  const ends = new Ends();
  let core: ClientCore | null = null;
  doors.client((made) => {
    core = made;
    program(made, ends);
  });
  const run = (ms: number): readonly string[] => {
    doors.world.run(doors.world.nowUs + ms * 1000);
    if (doors.world.violation !== null) throw doors.world.violation;
    return ends.said;
  };
  return { doors, ends, run, core: () => core as unknown as ClientCore };
}

t.test("calls before the first connection wait for it, and a turn's calls leave by one write", async (t) => {
  let writes = 0;
  const { doors, run } = world(1, {}, (core, ends) => {
    for (let i = 0; i < 100; i++) incr(core, `k${i}`, ends.caller(`${i}`));
  });
  doors.net.observers.push({
    onSend: (connection, bytes) => {
      if (connection.machine === doors.app.number && bytes.length > 1000) writes++;
    },
  });
  t.equal(run(100).length, 100);
  t.equal(writes, 1);
  t.equal(doors.arrived[0], 100);
});

t.test("C8: a write whose reply is lost is sent again under its number, and executed once", async (t) => {
  let lost = 0;
  const { run, doors } = world(2, { fate: () => (lost++ < 3 ? "cut_after" : "ok") }, (core, ends) => {
    incr(core, "n", ends.caller("incr"));
  });
  t.same(run(1000), ["incr: ok"]);
  t.equal(lost, 4, "it was sent four times");
  t.equal(doors.shard.store.revision, 1, "and executed once");
});

t.test(
  "C7: a write over several slots is sent once; if its answer is lost nobody claims to know",
  async (t) => {
    let arrived = 0;
    const cut = world(2, { fate: () => (arrived++ === 0 ? "cut_before" : "ok") }, (core, ends) => {
      msetWide(core, ends.caller("mset"));
    });
    t.match(cut.run(1000), [/^mset: OUTCOME_UNKNOWN the connection was lost/]);
    t.equal(arrived, 1);
    const refused = world(
      2,
      { fate: () => "again" },
      (core, ends) => void msetWide(core, ends.caller("mset")),
    );
    t.match(refused.run(1000), [/^mset: UNAVAILABLE CLUSTERDOWN no leader; nothing was done/]);
    const uncertain = world(
      2,
      { fate: () => "uncertain_not" },
      (core, ends) => void msetWide(core, ends.caller("mset")),
    );
    t.match(uncertain.run(1000), [/^mset: OUTCOME_UNKNOWN UNCERTAIN/]);
  },
);

t.test(
  "refused until its time is up: certainly not executed; uncertain once: unknown for ever",
  async (t) => {
    const refused = world(
      2,
      { fate: () => "again" },
      (core, ends) => void incr(core, "n", ends.caller("incr"), 500),
    );
    t.match(refused.run(1000), [/^incr: UNAVAILABLE CLUSTERDOWN/]);
    let arrived = 0;
    const fate = () => (arrived++ === 0 ? "uncertain_not" : "again");
    const mixed = world(2, { fate }, (core, ends) => void incr(core, "n", ends.caller("incr"), 500));
    t.match(mixed.run(1000), [/^incr: OUTCOME_UNKNOWN .*CLUSTERDOWN/]);
    t.ok(arrived > 3, "it was tried on and on");
  },
);

t.test("reads are asked again whatever happened to them", async (t) => {
  const fates = ["cut_before", "again", "uncertain_not", "cut_after", "ok"] as const;
  let arrived = 0;
  const fate = () => fates[arrived++] ?? "ok";
  const { run } = world(2, { fate }, (core, ends) => void get(core, "k", ends.caller("get")));
  t.same(run(2000), ["get: ok"]);
  t.equal(arrived, 5);
  const mute = world(1, { fate: () => "mute" }, (core, ends) => void get(core, "k", ends.caller("get"), 300));
  t.match(mute.run(1000), [/^get: TIMEOUT/]);
});

t.test("no node in reach: the error says why, and nothing was executed", async (t) => {
  const { doors, run } = world(2, {}, () => {});
  for (const door of doors.doors) door.kill();
  run(100);
  const gone = world(2, {}, (core, ends) => void incr(core, "n", ends.caller("incr"), 400));
  for (const door of gone.doors.doors) door.kill();
  t.match(gone.run(1000), [/^incr: UNAVAILABLE not sent in time: n[12]:7001: /]);
  gone.doors.open(1);
  incr(gone.core(), "n", gone.ends.caller("later"));
  t.same(gone.run(3000).slice(1), ["later: ok"], "it comes back by itself");
});

t.test(
  "C9: STALE is nobody's answer: the time of the write's number has passed, its outcome must be read",
  async (t) => {
    const { doors, run, core, ends } = world(1, {}, () => {});
    run(100);
    doors.shard.aheadMs = 61_000;
    incr(core(), "n", ends.caller("late"));
    run(400);
    incr(core(), "n", ends.caller("again"));
    t.match(run(100), [
      /^late: OUTCOME_UNKNOWN STALE not executed now: the write's time limit has passed/,
      "again: ok",
    ]);
  },
);

t.test("C10: what comes for a call that was given up is not taken for another one's answer", async (t) => {
  const { run, core, ends } = world(1, { delayUs: () => 50_000 }, () => {});
  run(100);
  const first = incr(core(), "n", ends.caller("first"));
  run(10);
  core().abort(first, "enough");
  core().abort(first, "twice");
  get(core(), "n", ends.caller("second"));
  t.match(run(500), [/^first: OUTCOME_UNKNOWN the call was aborted after it was sent/, "second: ok"]);
});

t.test("an abort before a call is sent is certain", async (t) => {
  const { run, core, ends } = world(1, {}, () => {});
  run(100);
  const request = incr(core(), "n", ends.caller("incr"));
  core().abort(request, "never mind");
  t.match(run(500), [/^incr: ABORTED/]);
  t.equal(core().pending, 0);
});

t.test(
  "I1: a node that answers nothing is left when another one leads; its writes are retried there",
  async (t) => {
    let leader = 0;
    let term = 1;
    const { doors, run, ends, core } = world(3, { leader: () => leader, term: () => term }, () => {});
    run(300);
    t.equal(core().node, "n1");
    doors.doors[0]?.pause(20_000_000);
    leader = 2;
    term = 2;
    incr(core(), "n", ends.caller("incr"));
    t.same(run(2500), ["incr: ok"]);
    t.equal(core().node, "n3");
  },
);

t.test("a silent node that all others call leader is given 3 s", async (t) => {
  const { doors, run, ends, core } = world(3, {}, () => {});
  run(300);
  doors.doors[0]?.pause(20_000_000);
  incr(core(), "n", ends.caller("incr"));
  t.same(run(2500), []);
  t.same(run(2000), ["incr: ok"]);
  t.not(core().node, "n1");
});

t.test("the client follows the leader, and no call sees it", async (t) => {
  let leader = 0;
  let term = 1;
  const { doors, run, ends, core } = world(3, { leader: () => leader, term: () => term }, () => {});
  run(1);
  for (let i = 0; i < 400; i++)
    doors.world.after(i * 20_000, doors.app.process, () => incr(core(), "n", ends.caller("incr")));
  run(1000);
  t.equal(core().node, "n1");
  leader = 1;
  term = 2;
  run(7000);
  t.equal(core().node, "n2");
  run(1000);
  t.equal(ends.said.length, 400);
  t.ok(ends.said.every((end) => end === "incr: ok"));
  t.equal(doors.shard.store.revision, 400);
});

t.test("a leader that cannot be reached from here is no reason to leave a node that can", async (t) => {
  const { doors, run, ends, core } = world(2, { leader: () => 1 }, () => {});
  doors.net.setCut(doors.app.number, 1, true);
  run(500);
  for (let i = 0; i < 20; i++) incr(core(), "n", ends.caller("incr"));
  run(3000);
  t.equal(ends.said.length, 20);
  t.equal(core().node, "n1");
});

t.test("a write that was given up holds no later one back, although the floor lies below it", async (t) => {
  const fate = (frame: Uint8Array): Fate => {
    const seq = getU64(frame, 8 + 16);
    return seq === 1 ? "again" : seq === 2 ? "lost" : "ok";
  };
  const { run, core, ends } = world(1, { fate }, (core, ends) => {
    incr(core, "elsewhere", ends.caller("stuck"), 10_000);
    incr(core, "n", ends.caller("given up"), 300);
  });
  run(500);
  incr(core(), "n", ends.caller("next"));
  t.match(run(200), [/^given up: OUTCOME_UNKNOWN/, "next: ok"]);
});

t.test(
  "I2: never more than a window above the oldest unanswered write is sent, and the rest waits",
  async (t) => {
    let highest = 0;
    let floor = 0;
    const seen = (frame: Uint8Array) => {
      highest = Math.max(highest, getU64(frame, 8 + 16));
      floor = Math.max(floor, getU64(frame, 8 + 24));
    };
    let stuck = true;
    const fate = (frame: Uint8Array) => {
      seen(frame);
      return stuck && getU64(frame, 8 + 16) === 1 ? "again" : "ok";
    };
    const { run, ends } = world(1, { fate }, (core, ends) => {
      for (let i = 0; i < 3 * WINDOW_MAX; i++) incr(core, `k${i % 97}`, ends.caller("incr"), 40_000);
    });
    run(2000);
    t.equal(floor, 1);
    t.equal(highest, WINDOW_MAX);
    stuck = false;
    run(4000);
    t.equal(ends.said.length, 3 * WINDOW_MAX);
    t.ok(floor > WINDOW_MAX, "the floor rose");
  },
);

t.test("calls beyond the cap are refused, and say so", async (t) => {
  const { run } = world(1, { fate: () => "mute" }, (core, ends) => {
    const value = new Uint8Array(700_000);
    for (let i = 0; i < 120; i++) {
      const to = keyed(core, OP.set, `k${i}`, ends.caller(`${i}`), 1000);
      to.arg(value);
      to.argI64(0);
      to.argI64(0);
      core.end();
    }
  });
  const refused = run(0).filter((end) => end.includes("OVERLOADED"));
  t.ok(
    refused.length > 10 && refused.length < 60,
    `${refused.length} of 120 times 0.7 MB do not fit into 64 MiB`,
  );
  t.equal(run(3000).length, 120);
});

t.test("a command that no frame holds is refused here", async (t) => {
  const { run } = world(1, {}, (core, ends) => {
    const to = keyed(core, OP.append, "k", ends.caller("append"));
    to.arg(new Uint8Array(1_100_000));
    core.end();
    incr(core, "n", ends.caller("incr"));
  });
  t.match(run(500), [/^append: ERR ERR the command has 11\d{5} bytes/, "incr: ok"]);
});

t.test("pings and status are answered by the node itself", async (t) => {
  const { run } = world(1, {}, (core, ends) => {
    core.ask(OPCODE.ping, ends.caller("ping"));
    core.ask(OPCODE.admin, ends.caller("status"));
  });
  t.same(run(500), ["ping: ok", "status: ok"]);
});

t.test("close ends what is under way, and says what is known of it", async (t) => {
  const { run, core, ends } = world(1, { fate: () => "mute" }, () => {});
  run(100);
  incr(core(), "n", ends.caller("sent"));
  get(core(), "n", ends.caller("read"));
  run(50);
  incr(core(), "m", ends.caller("queued"));
  let closed = 0;
  core().drain(() => closed++);
  incr(core(), "m", ends.caller("late"));
  t.equal(closed, 0, "it waits for what is under way");
  core().close();
  t.equal(closed, 1);
  t.match(run(100), [
    /^late: CLOSED/,
    /^sent: OUTCOME_UNKNOWN the client was closed/,
    /^read: CLOSED/,
    /^queued: CLOSED/,
  ]);
});

t.test("drain closes as soon as the last call has its answer", async (t) => {
  const { run, core, ends } = world(1, {}, () => {});
  run(100);
  incr(core(), "n", ends.caller("incr"));
  let closed = false;
  core().drain(() => {
    closed = true;
  });
  t.same(run(100), ["incr: ok"]);
  t.ok(closed);
  t.ok(core().closed);
});

t.test(
  "I4: clients that reach nobody dial in growing, drawn pauses; they come back soon after a node does",
  async (t) => {
    const dials: { client: number; atMs: number }[] = [];
    const { doors, run } = world(3, {}, () => {});
    for (const door of doors.doors) door.kill();
    const clients: ClientCore[] = [];
    doors.app.kill();
    doors.app.start((platform) => {
      for (let client = 0; client < 50; client++) {
        const dial: Platform["net"]["dial"] = (host, port, events) => {
          dials.push({ client, atMs: doors.world.nowUs / 1000 });
          return platform.net.dial(host, port, events);
        };
        const addresses = [1, 2, 3].map((n) => ({ host: `n${n}`, port: 7001 }));
        const options = { addresses, name: "", version: "1", timeoutMs: 5000 };
        clients.push(new ClientCore({ ...platform, net: { ...platform.net, dial } }, options));
      }
    });
    const startMs = doors.world.nowUs / 1000;
    run(20_000);
    const late = dials.filter(({ atMs }) => atMs > startMs + 10_000);
    t.ok(
      late.length < 50 * 10 * 5,
      `${late.length} dials of 50 clients in 10 s: less than five a second each`,
    );
    t.ok(late.length > 50 * 10, "and more than one");
    const perTick = new Map<number, number>();
    for (const { atMs } of late)
      perTick.set(Math.floor(atMs / 20), (perTick.get(Math.floor(atMs / 20)) ?? 0) + 1);
    t.ok(Math.max(...perTick.values()) < 25, "never half of them within the same 20 ms");
    doors.open(1);
    run(2000);
    t.same(new Set(clients.map(({ node }) => node)), new Set(["n2"]));
  },
);
