/**
 * A machine of the simulated world, and the Platform it gives to the program that runs on it.
 *
 * A machine has a disk, clocks and a place in the network that outlive programs. `start` boots one incarnation
 * of a program; `kill` ends it and keeps the page cache; `powerFailure` ends it and keeps only what the disk
 * vouches for; `pause` is SIGSTOP. A dead incarnation never runs again: every callback into it names its Process.
 */
import { assert } from "../base/assert.ts";
import type { Prng } from "../base/prng.ts";
import type { Log, Platform, Random } from "../platform/platform.ts";
import { CLOCK_DEFAULT, type ClockKnobs, type MachineClock, SimClock } from "./clock.ts";
import { DISK_DEFAULT, type DiskKnobs, type FaultCounts, SimDisk } from "./disk.ts";
import type { Network } from "./net.ts";
import { Process, type World } from "./world.ts";

/** What runs on a machine: it is started with a Platform and lives from its callbacks. */
export type Program = (platform: Platform, machine: Machine) => void;

export class Machine {
  readonly world: World;
  readonly net: Network;
  readonly number: number;
  readonly host: string;
  readonly disk: SimDisk;
  readonly clock: MachineClock = { driftPpm: 0, wallOffsetMs: 0, bootedAtUs: 0 };
  readonly counts: FaultCounts;
  /** Told of every line that a program here logs. */
  onLog: (message: string) => void = () => {};
  #clockKnobs: ClockKnobs;
  #random: Prng;
  #process: Process | null = null;
  #starts = 0;

  constructor(
    world: World,
    net: Network,
    number: number,
    host: string,
    knobs: { readonly disk?: DiskKnobs; readonly clock?: ClockKnobs } = {},
  ) {
    this.world = world;
    this.net = net;
    this.number = number;
    this.host = host;
    this.counts = net.counts;
    this.disk = new SimDisk(world, number, knobs.disk ?? DISK_DEFAULT, net.counts);
    this.#clockKnobs = knobs.clock ?? CLOCK_DEFAULT;
    this.#random = world.stream(`machine ${number}`);
    net.addHost(host, number);
    net.machineUp(number);
  }

  get running(): boolean {
    return this.#process !== null;
  }

  get paused(): boolean {
    return this.#process !== null && this.#process.pausedUntilUs > this.world.nowUs;
  }

  get process(): Process | null {
    return this.#process;
  }

  /** Boots `program` on whatever the disk holds. */
  start(program: Program): Process {
    assert(this.#process === null, "one program at a time runs on a machine");
    const process = new Process(this.number, this.#starts++);
    this.#process = process;
    this.net.machineUp(this.number);
    this.world.note("start", this.number, process.incarnation);
    const platform = this.#platform(process);
    this.world.after(0, process, () => program(platform, this));
    return process;
  }

  /** kill -9, or the program's own end: the kernel and its page cache live on. */
  kill(): void {
    this.#stop("kill", false);
  }

  /** The plug is pulled: memory, page cache and connections are gone. */
  powerFailure(): void {
    this.#stop("power", true);
    this.disk.powerFailure();
    this.clock.bootedAtUs = this.world.nowUs;
  }

  /** SIGSTOP for `durationUs`: timers wait, data queues. */
  pause(durationUs: number): void {
    if (this.#process === null) return;
    const untilUs = this.world.nowUs + durationUs;
    if (untilUs <= this.#process.pausedUntilUs) return;
    this.#process.pausedUntilUs = untilUs;
    this.#count("pause");
    this.world.note("pause", this.number, durationUs, 0, `for ${durationUs} us`);
  }

  /** The wall clock jumps. */
  stepWallClock(ms: number): void {
    this.clock.wallOffsetMs += ms;
    this.#count("wall_step");
    this.world.note("wall", this.number, Math.abs(ms), ms < 0 ? 1 : 0, `${ms} ms`);
  }

  #stop(how: "kill" | "power", power: boolean): void {
    const process = this.#process;
    if (process !== null) {
      process.alive = false;
      this.#process = null;
      this.disk.processDied(process);
      this.#count(how);
    }
    this.net.machineStopped(this.number, power);
    this.world.note(how, this.number, process?.incarnation ?? 0);
  }

  #platform(process: Process): Platform {
    const random = this.#random.fork(`start ${process.incarnation}`);
    return {
      clock: new SimClock(this.world, process, this.clock, this.#clockKnobs, random.fork("clock")),
      random: random.fork("program") satisfies Random,
      disk: this.disk.attach(process),
      net: this.net.attach(process),
      log: this.#log(process),
    };
  }

  #log(process: Process): Log {
    return {
      write: (level, message, facts = {}) => {
        if (!process.alive) return;
        this.onLog(message);
        const named = Object.entries(facts).map(([name, value]) => ` ${name}=${String(value)}`);
        this.world.trace.say(this.world.nowUs, `log.${level}`, this.number, `${message}${named.join("")}`);
      },
    };
  }

  #count(fault: string): void {
    this.counts.set(fault, (this.counts.get(fault) ?? 0) + 1);
  }
}
