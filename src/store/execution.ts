/**
 * What a command sees while it runs: its arguments, where its reply goes, the keyspace, and the time. One object a
 * store, filled anew for each command, so that running a command allocates nothing.
 */
import { MiB } from "../base/units.ts";
import type { CommandView } from "../wire/command.ts";
import { COMMAND_BYTES_MAX, KEY_BYTES_MAX } from "../wire/command.ts";
import { DISCARD, type ReplySink } from "../wire/reply.ts";
import { Garbage } from "./garbage.ts";
import { Probe } from "./hash.ts";
import type { Keyspace } from "./keyspace.ts";
import { RefList } from "./ref_list.ts";
import { Warmer } from "./warm.ts";

/**
 * Most bytes of a value. With the longest key and some room for lengths and numbers it still fits into one command,
 * so every record can be written, copied and moved by one.
 */
export const VALUE_BYTES_MAX = COMMAND_BYTES_MAX - KEY_BYTES_MAX - 1024;

/**
 * Most bytes of keys or values in one reply. A frame between nodes holds 64 MiB; and a command that names one large
 * value four thousand times must not make four gigabytes of it.
 */
export const REPLY_BYTES_MAX = 48 * MiB;

export class Execution {
  keyspace: Keyspace;
  command: CommandView;
  reply: ReplySink = DISCARD;
  /** Log time: what is past it is gone. */
  logTimeMs = 0;
  /** The time that replies speak of: log time in apply, the leader's time in a read; never below log time. */
  nowMs = 0;
  /** Set by a read that met a key past its deadline by `nowMs` but not in log time; it has not replied. */
  undecided = false;
  /** What `lookup` last looked for. */
  readonly probe = new Probe();
  /** Where the argument starts that `probe` was aimed at before the command was judged; -1 = it was not. */
  aimedAt = -1;
  readonly refs = new RefList();
  readonly warmer = new Warmer();
  readonly garbage = new Garbage();

  constructor(keyspace: Keyspace, command: CommandView) {
    this.keyspace = keyspace;
    this.command = command;
  }

  /** Aims the probe at the key in the first argument; gives its slot. */
  aimFirst(): number {
    const { command, probe } = this;
    const start = command.argStart(0);
    const end = command.argEnd(0);
    if (!this.warmer.aim(probe, command.bytes, start, end)) probe.aim(command.bytes, start, end);
    this.aimedAt = start;
    return probe.slot;
  }

  /** The live record of the key in argument `i`, or 0. `keyspace.found` may name an expired one all the same. */
  lookup(i: number): number {
    const command = this.command;
    const start = command.argStart(i);
    if (start !== this.aimedAt) {
      const end = command.argEnd(i);
      if (i > 0 || !this.warmer.aim(this.probe, command.bytes, start, end)) {
        this.probe.aim(command.bytes, start, end);
      }
      this.aimedAt = start;
    }
    const ref = this.keyspace.find(this.probe);
    return ref !== 0 && this.isLive(ref) ? ref : 0;
  }

  isLive(ref: number): boolean {
    const deadline = this.keyspace.records.deadline(ref);
    return deadline === 0 || deadline > this.logTimeMs;
  }

  /** Whether a read cannot say yet if the record is there. */
  isUndecided(ref: number): boolean {
    const deadline = this.keyspace.records.deadline(ref);
    return deadline > this.logTimeMs && deadline <= this.nowMs;
  }

  /** Stores argument `i` as the value of the key looked up last. */
  putArgument(i: number, deadline: number): void {
    const command = this.command;
    this.keyspace.put(this.probe, command.bytes, command.argStart(i), command.argEnd(i), deadline);
  }

  /** Whether the value of `ref` is argument `i`, byte for byte. */
  valueIs(ref: number, i: number): boolean {
    const records = this.keyspace.records;
    const command = this.command;
    const size = records.valueSize(ref);
    if (size !== command.argSize(i)) return false;
    const own = records.valueBytes(ref);
    const from = records.valueAt(ref);
    const start = command.argStart(i);
    for (let k = 0; k < size; k++) if (own[from + k] !== command.bytes[start + k]) return false;
    return true;
  }
}
