/** Whether clients use a shard now: so, a while after each of its commands. Both sides of a move ask (move_pace.ts). */

/** Who asked for something this long ago may do so again. */
const BUSY_TICKS = 20;

export class ShardUse {
  #commands: number;
  #busyUntilTick = 0;

  /** `commands`: of clients, that the shard's replica took so far. */
  constructor(commands: number) {
    this.#commands = commands;
  }

  /** Each tick. */
  look(commands: number, tick: number): void {
    if (commands > this.#commands) this.note(tick);
    this.#commands = commands;
  }

  /** Somebody uses it, or what stands for it. */
  note(tick: number): void {
    this.#busyUntilTick = tick + BUSY_TICKS;
  }

  isBusy(tick: number): boolean {
    return tick < this.#busyUntilTick;
  }
}
