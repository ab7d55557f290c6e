/** How busy this node is, for those who place replicas and for people: looked at with each heartbeat. */
import type { Platform } from "../platform/platform.ts";
import type { Heartbeat } from "../wire/control_plane.ts";

/** Free space changes slowly, and asking costs a call of the system. */
const DISK_EVERY_MS = 10_000;

export class Load {
  readonly #platform: Platform;
  readonly #dir: string;
  #commands = 0;
  #sinceMs: number;
  #diskFreeBytes = 0;
  #diskAskedMs = -DISK_EVERY_MS;

  constructor(platform: Platform, dir: string) {
    this.#platform = platform;
    this.#dir = dir;
    this.#sinceMs = platform.clock.monotonicMs();
  }

  /** `commandsTotal`: that came in at this node's doors since it started. */
  read(commandsTotal: number, bytes: number): Heartbeat["load"] {
    const nowMs = this.#platform.clock.monotonicMs();
    const seconds = Math.max(0.001, (nowMs - this.#sinceMs) / 1000);
    const commandsPerSecond = Math.round((commandsTotal - this.#commands) / seconds);
    this.#commands = commandsTotal;
    this.#sinceMs = nowMs;
    this.#askDisk(nowMs);
    return { commandsPerSecond, bytes, diskFreeBytes: this.#diskFreeBytes };
  }

  #askDisk(nowMs: number): void {
    if (nowMs - this.#diskAskedMs < DISK_EVERY_MS) return;
    this.#diskAskedMs = nowMs;
    this.#platform.disk.freeBytes(this.#dir, (error, bytes) => {
      if (error === null) this.#diskFreeBytes = Math.floor(bytes);
    });
  }
}
