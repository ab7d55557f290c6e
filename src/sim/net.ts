/**
 * The network between the machines of a world: hosts, listeners, links, and what goes wrong with them.
 *
 * A link is one direction between two machines: how long bytes take, how many fit, and whether it is cut. A cut
 * one loses nothing, as TCP does not: bytes wait, and come late or never. Both directions may be cut alone, so
 * that a node hears and is not heard. Machines that are down answer nothing; machines that are up without a
 * listener refuse.
 */
import { NucleusError } from "../base/errors.ts";
import type { Prng } from "../base/prng.ts";
import type { Done } from "../base/task.ts";
import type { Connection, ConnectionEvents, Listener, Net } from "../platform/platform.ts";
import { draw, type Span } from "./chance.ts";
import type { FaultCounts } from "./disk.ts";
import { SimConnection } from "./net_connection.ts";
import { Pipe } from "./net_pipe.ts";
import type { Process, World } from "./world.ts";

export type NetKnobs = {
  readonly latencyUs: Span;
  /** Bytes a millisecond that a link carries; 0 = without end. */
  readonly bytesPerMs: number;
  /** Most bytes of one direction that are sent and not read there. */
  readonly windowBytes: Span;
  /** Above this `send` says false. */
  readonly sendCapBytes: number;
  /** Chance in a million that a delivery is cut into pieces, and how large they are. */
  readonly fragmentPerMillion: number;
  readonly fragmentBytes: Span;
  /** After a link healed: how long until what it held back comes through. */
  readonly retransmitUs: Span;
  /** How long a sender waits for acknowledgement before it gives up; also for a handshake. */
  readonly giveUpUs: Span;
};

/** A quiet local network. */
export const NET_DEFAULT: NetKnobs = {
  latencyUs: [80, 400],
  bytesPerMs: 0,
  windowBytes: [65_536, 1_048_576],
  sendCapBytes: 1_048_576,
  fragmentPerMillion: 20_000,
  fragmentBytes: [1, 1460],
  retransmitUs: [1_000, 200_000],
  giveUpUs: [5_000_000, 20_000_000],
};

/** What checkers may watch. */
export type NetObserver = {
  /** A process handed `bytes` to a connection: the moment at which it vouches for them. Borrowed. */
  onSend?(connection: SimConnection, bytes: Uint8Array): void;
};

type LinkState = { cut: boolean; extraUs: number; bytesPerMs: number };
type ListenerState = { readonly process: Process; readonly accept: (connection: Connection) => void };

/** Machines are numbered below this. */
const MACHINES_MAX = 4096;

export class Network {
  readonly world: World;
  readonly knobs: NetKnobs;
  readonly random: Prng;
  readonly counts: FaultCounts;
  readonly observers: NetObserver[] = [];
  #links = new Map<number, LinkState>();
  #hosts = new Map<string, number>();
  #up = new Set<number>();
  #listeners = new Map<string, ListenerState>();
  #connections = new Set<SimConnection>();
  #numbers = 0;
  #ports = 40_000;

  constructor(world: World, knobs: NetKnobs = NET_DEFAULT, counts: FaultCounts = new Map()) {
    this.world = world;
    this.knobs = knobs;
    this.counts = counts;
    this.random = world.stream("net");
  }

  addHost(host: string, machine: number): void {
    this.#hosts.set(host, machine);
  }

  /** The network as `process` on `host` sees it. */
  attach(process: Process): Net {
    return {
      listen: (_host, port, accept, done) => this.#listen(process, port, accept, done),
      dial: (host, port, events) => this.#dial(process, host, port, events),
    };
  }

  machineUp(machine: number): void {
    this.#up.add(machine);
    this.#linksChanged();
  }

  /** Every process of the machine died; `power`: so did its kernel. */
  machineStopped(machine: number, power: boolean): void {
    for (const [address, listener] of this.#listeners) {
      if (listener.process.machine === machine) this.#listeners.delete(address);
    }
    for (const connection of this.#connections) {
      if (connection.machine !== machine) continue;
      if (power) connection.vanish();
      else connection.processDied();
    }
    if (power) this.#up.delete(machine);
  }

  /** Cuts or heals one direction. */
  setCut(from: number, to: number, cut: boolean): void {
    const link = this.#link(from, to);
    if (link.cut === cut) return;
    link.cut = cut;
    if (cut) this.count("cut");
    this.world.note(cut ? "net.cut" : "net.heal", from, to, 0, `-> ${this.world.trace.nameOf(to)}`);
    if (!cut) this.#linksChanged();
  }

  /** Makes one direction slow: added latency, and bytes a millisecond (0 = as the knobs say). */
  setSlow(from: number, to: number, extraUs: number, bytesPerMs: number): void {
    const link = this.#link(from, to);
    link.extraUs = extraUs;
    link.bytesPerMs = bytesPerMs;
    if (extraUs > 0 || bytesPerMs > 0) this.count("slow_link");
    this.world.note(
      "net.slow",
      from,
      to,
      extraUs,
      `-> ${this.world.trace.nameOf(to)} +${extraUs} us ${bytesPerMs} B/ms`,
    );
  }

  healAll(): void {
    for (const link of this.#links.values()) {
      link.cut = false;
      link.extraUs = 0;
      link.bytesPerMs = 0;
    }
    this.#linksChanged();
  }

  /** Resets the connections between two machines, in the middle of whatever they carry; returns how many. */
  resetBetween(a: number, b: number): number {
    let count = 0;
    for (const connection of this.#connections) {
      const { peer } = connection;
      if (connection.machine !== a || peer === null || peer.machine !== b) continue;
      connection.reset();
      peer.reset();
      count++;
    }
    if (count > 0) this.count("reset");
    return count;
  }

  passes(from: number, to: number): boolean {
    if (!this.#up.has(to)) return false;
    return from === to || this.#links.get(from * MACHINES_MAX + to)?.cut !== true;
  }

  latencyUs(from: number, to: number): number {
    if (from === to) return 10;
    return (
      draw(this.random, this.knobs.latencyUs) + (this.#links.get(from * MACHINES_MAX + to)?.extraUs ?? 0)
    );
  }

  /** How long the line is busy with `size` bytes. */
  carryUs(from: number, to: number, size: number): number {
    const ownBytesPerMs = this.#links.get(from * MACHINES_MAX + to)?.bytesPerMs ?? 0;
    const bytesPerMs = ownBytesPerMs > 0 ? ownBytesPerMs : this.knobs.bytesPerMs;
    return bytesPerMs > 0 ? Math.ceil((size * 1000) / bytesPerMs) : 0;
  }

  /** The connection is over at that end. */
  forget(connection: SimConnection): void {
    this.#connections.delete(connection);
  }

  get connectionCount(): number {
    return this.#connections.size;
  }

  count(fault: string): void {
    this.counts.set(fault, (this.counts.get(fault) ?? 0) + 1);
  }

  #link(from: number, to: number): LinkState {
    const key = from * MACHINES_MAX + to;
    const known = this.#links.get(key);
    if (known !== undefined) return known;
    const link = { cut: false, extraUs: 0, bytesPerMs: 0 };
    this.#links.set(key, link);
    return link;
  }

  #linksChanged(): void {
    for (const connection of this.#connections) connection.linksChanged();
  }

  #listen(
    process: Process,
    port: number,
    accept: (connection: Connection) => void,
    done: Done<Listener>,
  ): void {
    const bound = port === 0 ? this.#ports++ : port;
    const address = `${process.machine}:${bound}`;
    this.world.after(1, process, () => {
      if (this.#listeners.has(address)) {
        done(new NucleusError("EADDRINUSE", `port ${bound} is in use`), undefined as never);
        return;
      }
      this.#listeners.set(address, { process, accept });
      done(null, {
        port: bound,
        close: (closed) => {
          this.#listeners.delete(address);
          this.world.after(1, process, () => closed(null, undefined));
        },
      });
    });
  }

  #dial(process: Process, host: string, port: number, events: ConnectionEvents): Connection {
    const number = this.#numbers++;
    const local = host === "127.0.0.1" || host === "localhost";
    const target = local ? process.machine : this.#hosts.get(host);
    const connection = new SimConnection(
      this,
      process,
      `${host}:${port}`,
      `c${number} ${this.world.trace.nameOf(process.machine)}>${this.world.trace.nameOf(target ?? -1)}`,
      true,
    );
    connection.events = events;
    this.#connections.add(connection);
    if (target === undefined) this.world.after(100, process, () => connection.refuse("ENOTFOUND"));
    else
      this.#shakeHands(
        new Handshake(connection, number, target, port),
        this.world.nowUs + draw(this.random, this.knobs.giveUpUs),
      );
    return connection;
  }

  /** There and back must pass; until they do, the caller's kernel tries again, after 1, 2, 4 .. seconds. */
  #shakeHands(call: Handshake, deadlineUs: number): void {
    const { connection, target } = call;
    this.world.after(this.latencyUs(connection.machine, target), null, () => {
      if (connection.gone) return;
      if (this.passes(connection.machine, target) && this.passes(target, connection.machine)) {
        this.#answer(call);
      } else if (this.world.nowUs + call.waitUs > deadlineUs) {
        this.world.call(connection.process, () => connection.refuse("ETIMEDOUT"));
      } else {
        this.world.after(call.waitUs, null, () => this.#shakeHands(call, deadlineUs));
        call.waitUs *= 2;
      }
    });
  }

  #answer({ connection, number, target, port }: Handshake): void {
    const back = this.latencyUs(target, connection.machine);
    const listener = this.#listeners.get(`${target}:${port}`);
    if (listener === undefined) {
      this.world.after(back, connection.process, () => connection.refuse("ECONNREFUSED"));
      return;
    }
    const remote = `#${connection.machine}:${this.#ports++}`;
    const accepted = new SimConnection(
      this,
      listener.process,
      remote,
      `c${number} ${this.world.trace.nameOf(target)}>${this.world.trace.nameOf(connection.machine)}`,
      false,
    );
    const random = this.world.stream(`connection ${number}`);
    const there = new Pipe(this, connection, accepted, random);
    const here = new Pipe(this, accepted, connection, random);
    connection.join(accepted, there, here);
    accepted.join(connection, here, there);
    accepted.accepted();
    this.#connections.add(accepted);
    this.world.note("net.open", connection.machine, target, number, connection.label);
    this.world.call(listener.process, () => listener.accept(accepted));
    this.world.after(back, connection.process, () => connection.open());
  }
}

/** A dial under way. */
class Handshake {
  readonly connection: SimConnection;
  readonly number: number;
  readonly target: number;
  readonly port: number;
  waitUs = 1_000_000;

  constructor(connection: SimConnection, number: number, target: number, port: number) {
    this.connection = connection;
    this.number = number;
    this.target = target;
    this.port = port;
  }
}
