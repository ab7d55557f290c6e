/**
 * A real platform whose program can be killed: from one moment on nothing it started goes on. Its sockets break,
 * its timers and turns do not come, what its disk was asked for is not completed. What it wrote stays, as after
 * kill -9.
 */
import type { Connection, Listener, Platform } from "../../src/platform/platform.ts";

export type Mortal = {
  readonly platform: Platform;
  kill(): void;
  /** SIGSTOP, so to speak: turns, ticks and data wait until `resume`. */
  pause(): void;
  resume(): void;
};

export function mortal(real: Platform): Mortal {
  let dead = false;
  let paused = false;
  let waiting: (() => void)[] = [];
  const connections = new Set<Connection>();
  const listeners = new Set<Listener>();

  /** Runs `run` unless the program is dead; later if it is stopped. */
  const alive =
    <A extends unknown[]>(run: (...args: A) => void) =>
    (...args: A): void => {
      if (dead) return;
      if (paused) waiting.push(() => alive(run)(...args));
      else run(...args);
    };

  const watch = (connection: Connection): Connection => {
    connections.add(connection);
    return connection;
  };

  const disk = Object.fromEntries(
    (["open", "list", "makeDir", "rename", "unlink", "syncDir", "freeBytes"] as const).map((name) => [
      name,
      (...args: unknown[]) => {
        const done = args.pop() as (...results: unknown[]) => void;
        const own = real.disk[name] as (...all: unknown[]) => void;
        own.call(real.disk, ...args, alive(name === "open" ? (e, f) => done(e, mortalFile(f)) : done));
      },
    ]),
  ) as unknown as Platform["disk"];

  function mortalFile(file: unknown): unknown {
    if (file === undefined || file === null) return file;
    return Object.fromEntries(
      ["size", "pread", "pwrite", "datasync", "close"].map((name) => [
        name,
        (...args: unknown[]) => {
          if (dead) return;
          const done = args.pop() as (...results: unknown[]) => void;
          (file as Record<string, (...all: unknown[]) => void>)[name]?.(...args, alive(done));
        },
      ]),
    );
  }

  const platform: Platform = {
    random: real.random,
    log: real.log,
    disk,
    clock: {
      monotonicMs: () => real.clock.monotonicMs(),
      wallMs: () => real.clock.wallMs(),
      turn: (run) => real.clock.turn(alive(run)),
      ticks: (intervalMs, onTick) =>
        real.clock.ticks(intervalMs, (lateMs) => !dead && !paused && onTick(lateMs)),
    },
    net: {
      listen: (host, port, onConnection, done) =>
        real.net.listen(
          host,
          port,
          (connection) => {
            if (dead) connection.destroy();
            else onConnection(watch(new Proxied(connection, alive)));
          },
          (error, listener) => {
            if (error === null) listeners.add(listener);
            done(error, listener);
          },
        ),
      dial: (host, port, events) => {
        const own = new Proxied(null, alive);
        own.events = events;
        own.inner = real.net.dial(host, port, own.inward);
        return watch(own);
      },
    },
  };

  return {
    platform,
    kill: () => {
      dead = true;
      waiting = [];
      for (const listener of listeners) listener.close(() => {});
      for (const connection of connections) connection.destroy();
    },
    pause: () => {
      paused = true;
    },
    resume: () => {
      paused = false;
      const run = waiting;
      waiting = [];
      for (const each of run) each();
    },
  };
}

type Alive = <A extends unknown[]>(run: (...args: A) => void) => (...args: A) => void;

/** A connection whose events pass through `alive`. */
class Proxied implements Connection {
  inner: Connection | null;
  events: Connection["events"] = { onOpen() {}, onData() {}, onDrain() {}, onClose() {} };
  readonly inward: Connection["events"];

  constructor(inner: Connection | null, alive: Alive) {
    this.inner = inner;
    const onData = alive((bytes: Uint8Array) => this.events.onData(bytes));
    this.inward = {
      onOpen: alive(() => this.events.onOpen()),
      onData: (bytes) => onData(bytes.slice()), // it may have to wait
      onDrain: alive(() => this.events.onDrain()),
      onClose: alive((reason: string) => this.events.onClose(reason)),
    };
    if (inner !== null) inner.events = this.inward;
  }

  get remote(): string {
    return this.inner?.remote ?? "?";
  }
  send(bytes: Uint8Array): boolean {
    return this.inner?.send(bytes) ?? true;
  }
  queuedBytes(): number {
    return this.inner?.queuedBytes() ?? 0;
  }
  pause(): void {
    this.inner?.pause();
  }
  resume(): void {
    this.inner?.resume();
  }
  close(): void {
    this.inner?.close();
  }
  destroy(): void {
    this.inner?.destroy();
  }
}
