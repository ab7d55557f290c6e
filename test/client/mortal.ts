/**
 * A real platform whose program can be killed: from one moment on nothing it started goes on. Its sockets break,
 * its timers and turns do not come, what its disk was asked for is not completed. What it wrote stays, as after
 * kill -9. `pause` is SIGSTOP: everything waits.
 */
import type {
  Clock,
  Connection,
  ConnectionEvents,
  Listener,
  Net,
  Platform,
} from "../../src/platform/platform.ts";

const DISK_VERBS = ["open", "list", "makeDir", "rename", "unlink", "syncDir", "freeBytes"] as const;
const FILE_VERBS = ["size", "pread", "pwrite", "datasync", "close"] as const;

type Verb = (...args: unknown[]) => void;

export class Mortal {
  readonly platform: Platform;
  readonly #real: Platform;
  #dead = false;
  #paused = false;
  #waiting: (() => void)[] = [];
  readonly #connections = new Set<Connection>();
  readonly #listeners = new Set<Listener>();
  readonly #tickers = new Set<() => void>();

  constructor(real: Platform) {
    this.#real = real;
    this.platform = {
      random: real.random,
      log: real.log,
      disk: this.#verbs(real.disk, DISK_VERBS) as unknown as Platform["disk"],
      clock: this.#clock(),
      net: this.#net(),
    };
  }

  kill(): void {
    this.#dead = true;
    this.#waiting = [];
    for (const stop of this.#tickers) stop();
    for (const listener of this.#listeners) listener.close(() => {});
    for (const connection of this.#connections) connection.destroy();
  }

  pause(): void {
    this.#paused = true;
  }

  resume(): void {
    this.#paused = false;
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const run of waiting) run();
  }

  /** `run`, unless the program is dead; later, if it is stopped. */
  alive<A extends unknown[]>(run: (...args: A) => void): (...args: A) => void {
    return (...args) => {
      if (this.#dead) return;
      if (this.#paused) this.#waiting.push(() => this.alive(run)(...args));
      else run(...args);
    };
  }

  /** Verbs whose last argument is a completion. Files that `open` gives are wrapped too. */
  #verbs(target: unknown, names: readonly string[]): Record<string, Verb> {
    const verbs = target as Record<string, Verb>;
    const wrapped: Record<string, Verb> = {};
    for (const name of names) {
      wrapped[name] = (...args) => {
        if (this.#dead) return;
        const done = args.pop() as Verb;
        const last = (error: unknown, value: unknown): void =>
          done(error, name === "open" && error === null ? this.#verbs(value, FILE_VERBS) : value);
        verbs[name]?.(...args, this.alive(last));
      };
    }
    return wrapped;
  }

  #clock(): Clock {
    const { clock } = this.#real;
    return {
      monotonicMs: () => clock.monotonicMs(),
      wallMs: () => clock.wallMs(),
      cpuMs: () => clock.cpuMs(),
      turn: (run) => clock.turn(this.alive(run)),
      ticks: (intervalMs, onTick) => {
        const stop = clock.ticks(intervalMs, (lateMs) => {
          if (!this.#paused) onTick(lateMs);
        });
        this.#tickers.add(stop);
        return stop;
      },
    };
  }

  #net(): Net {
    const { net } = this.#real;
    return {
      listen: (host, port, onConnection, done) => {
        const accept = (connection: Connection): void => {
          if (this.#dead) connection.destroy();
          else onConnection(this.#watch(new MortalConnection(this, connection)));
        };
        net.listen(host, port, accept, (error, listener) => {
          if (error === null) this.#listeners.add(listener);
          done(error, listener);
        });
      },
      dial: (host, port, events) => {
        const own = new MortalConnection(this, null);
        own.events = events;
        own.inner = net.dial(host, port, own.inward);
        return this.#watch(own);
      },
    };
  }

  #watch(connection: Connection): Connection {
    this.#connections.add(connection);
    return connection;
  }
}

const NOBODY: ConnectionEvents = { onOpen() {}, onData() {}, onDrain() {}, onClose() {} };

class MortalConnection implements Connection {
  inner: Connection | null;
  events: ConnectionEvents = NOBODY;
  readonly inward: ConnectionEvents;

  constructor(mortal: Mortal, inner: Connection | null) {
    this.inner = inner;
    const onData = mortal.alive((bytes: Uint8Array) => this.events.onData(bytes));
    this.inward = {
      onOpen: mortal.alive(() => this.events.onOpen()),
      onData: (bytes) => onData(bytes.slice()), // it may have to wait
      onDrain: mortal.alive(() => this.events.onDrain()),
      onClose: mortal.alive((reason: string) => this.events.onClose(reason)),
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
