/**
 * One end of a simulated connection: the Connection of the platform seam over two pipes.
 *
 *     opening -> open -> closing -> closed        `gone` = closed here, or its process or machine is no more
 *
 * As with real sockets: `close` sends what is queued and then waits for the other side to end too, and data may
 * still come meanwhile; `destroy` breaks off, and whether the other side sees an end or a reset is drawn;
 * onClose comes in an event of its own, never inside a call.
 */
import type { Connection, ConnectionEvents } from "../platform/platform.ts";
import { below } from "./chance.ts";
import type { Network } from "./net.ts";
import type { Ending, Pipe } from "./net_pipe.ts";
import type { Process } from "./world.ts";

type State = "opening" | "open" | "closing" | "closed";

const SILENT: ConnectionEvents = { onOpen() {}, onData() {}, onDrain() {}, onClose() {} };

export class SimConnection implements Connection {
  readonly remote: string;
  events: ConnectionEvents = SILENT;
  readonly net: Network;
  readonly process: Process;
  readonly machine: number;
  /** "c12 #1>#2": the same at both ends but for the direction. */
  readonly label: string;
  /** The other end, once the handshake reached it. */
  peer: SimConnection | null = null;
  /** This end dialled. */
  readonly dialled: boolean;
  #state: State = "opening";
  #out: Pipe | null = null;
  #in: Pipe | null = null;
  /** Sent before there was a pipe. */
  #early: Uint8Array[] = [];
  #earlyBytes = 0;
  #reading = true;
  #pauseWanted = false;
  /** `send` returned false: the caller waits for onDrain. */
  #full = false;
  /** The other side ended; so does this one, when it has said all. */
  #endsWhenDrained = false;
  #gone = false;

  constructor(net: Network, process: Process, remote: string, label: string, dialled: boolean) {
    this.dialled = dialled;
    this.net = net;
    this.process = process;
    this.machine = process.machine;
    this.remote = remote;
    this.label = label;
  }

  /** Bytes may flow. */
  get established(): boolean {
    return this.#state === "open" || this.#state === "closing";
  }

  get gone(): boolean {
    return this.#gone;
  }

  get reading(): boolean {
    return this.#reading && !this.#gone;
  }

  join(peer: SimConnection, out: Pipe, incoming: Pipe): void {
    this.peer = peer;
    this.#out = out;
    this.#in = incoming;
  }

  /** The accepting end is open from the start: its kernel did the handshake. */
  accepted(): void {
    this.#state = "open";
  }

  /** The handshake is complete at the dialling end. */
  open(): void {
    if (this.#gone || this.#state !== "opening") return;
    this.#state = "open";
    this.events.onOpen();
    for (const bytes of this.#early) this.#out?.queue(bytes);
    this.#early = [];
    this.#earlyBytes = 0;
  }

  send(bytes: Uint8Array): boolean {
    if (this.#gone || this.#state === "closing" || !this.process.alive) return true;
    for (const observer of this.net.observers) observer.onSend?.(this, bytes);
    if (this.#state === "opening") {
      this.#early.push(bytes);
      this.#earlyBytes += bytes.length;
    } else {
      this.#out?.queue(bytes);
    }
    if (this.queuedBytes() <= this.net.knobs.sendCapBytes) return true;
    this.#full = true;
    return false;
  }

  queuedBytes(): number {
    return this.#earlyBytes + (this.#out?.queuedBytes ?? 0);
  }

  pause(): void {
    this.#pauseWanted = true;
    if (below(this.net.random, 4) > 0) {
      this.#reading = false;
      return;
    }
    // What the runtime has already read comes all the same, now and then.
    this.net.world.after(1, this.process, () => {
      if (this.#pauseWanted) this.#reading = false;
    });
  }

  resume(): void {
    this.#pauseWanted = false;
    if (this.#reading) return;
    this.#reading = true;
    this.#in?.resume();
  }

  close(): void {
    if (this.#gone || this.#state === "closing") return;
    if (this.#state === "opening") {
      this.destroy();
      return;
    }
    this.#state = "closing";
    this.#out?.end("end");
  }

  destroy(): void {
    if (!this.#gone) this.#breakOff("destroyed here");
  }

  /** The other side ended, in order or not. */
  peerEnded(ending: Ending): void {
    if (this.#gone) return;
    if (ending === "reset") {
      this.#out?.dropQueue();
      this.#finish("ECONNRESET");
      return;
    }
    // No half-open connections: what is queued here still goes out, then this side ends too.
    this.#state = "closing";
    this.#out?.end("end");
    if (this.queuedBytes() === 0) this.#finish("closed by the other side");
    else this.#endsWhenDrained = true;
  }

  /** The pipe took the last byte that was queued. */
  queueDrained(): void {
    if (this.#endsWhenDrained) {
      if (!this.#gone) this.#finish("closed by the other side");
      return;
    }
    if (!this.#full) return;
    this.#full = false;
    this.net.world.after(0, this.process, () => {
      if (!this.#gone) this.events.onDrain();
    });
  }

  /** Bytes from here reached a machine that knows nothing of this connection. */
  refusedByPeer(): void {
    if (this.#gone) return;
    this.#out?.dropQueue();
    this.#finish("ECONNRESET");
  }

  /** Nothing was acknowledged for too long. */
  timedOut(): void {
    if (!this.#gone) this.#breakOff("ETIMEDOUT");
  }

  /** The network broke the connection, in the middle of whatever was on its way. */
  reset(): void {
    if (this.#gone) return;
    this.#out?.end("reset");
    this.#finish("ECONNRESET");
  }

  /** The dial failed. */
  refuse(reason: string): void {
    if (!this.#gone) this.#finish(reason);
  }

  /** The process died; the kernel closes for it. */
  processDied(): void {
    this.#endQuietly();
    this.#leave();
  }

  /** The machine lost power: silence. */
  vanish(): void {
    this.#out?.vanish();
    this.#leave();
  }

  /** The links around it changed. */
  linksChanged(): void {
    this.#out?.retry();
  }

  #breakOff(reason: string): void {
    this.#endQuietly();
    this.#finish(reason);
  }

  /** Whether the other side sees an orderly end or a reset depends on what its kernel had not read. */
  #endQuietly(): void {
    this.#out?.dropQueue();
    this.#out?.end(below(this.net.random, 2) === 0 ? "end" : "reset");
  }

  #leave(): void {
    this.#gone = true;
    this.#state = "closed";
    this.#early = [];
    this.#earlyBytes = 0;
    this.net.forget(this);
  }

  #finish(reason: string): void {
    this.#leave();
    this.net.world.note("net.close", this.machine, 0, 0, `${this.label} ${reason}`);
    this.net.world.after(0, this.process, () => {
      const { events } = this;
      this.events = SILENT;
      events.onClose(reason);
    });
  }
}
