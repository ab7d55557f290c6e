/**
 * The state machine once more, as plainly as it can be written: a Map of strings, no sharing of code with the
 * store. It knows Redis' rules, log time, revisions and the order of expiry; it does not know memory, slots,
 * sessions or snapshots. Values and keys are latin1 strings.
 */
import { EXPIRE_OPTION, EXPIRY_MS_MAX, OP, SET_OPTION } from "../../src/wire/command.ts";
import type { Command, Reply } from "./driver.ts";
import { bytesOf } from "./frames.ts";

type Entry = { value: string; deadline: number; revision: number };

const VALUE_MAX = 1024 * 1024 - 64 * 1024 - 16 * 1024 - 1024;
const OK = { status: "OK" };
const error = (text: string): Reply => ({ error: `ERR ${text}` });
const TOO_LONG = error("string exceeds maximum allowed size (proto-max-bulk-len)");

export class Model {
  readonly entries = new Map<string, Entry>();
  revision = 0;
  timeMs = 0;

  /** Applies a batch and gives the replies. */
  apply(timeMs: number, commands: readonly Command[]): Reply[] {
    this.timeMs = Math.max(this.timeMs, timeMs);
    const replies = commands.map((command) => this.run(command));
    const gone = [...this.entries]
      .filter(([, entry]) => !this.#isLive(entry))
      .sort(([, a], [, b]) => a.deadline - b.deadline || a.revision - b.revision)
      .slice(0, Math.max(64, 2 * commands.length));
    for (const [key] of gone) this.#remove(key);
    return replies;
  }

  get dataBytes(): number {
    let bytes = 0;
    for (const [key, { value }] of this.entries) bytes += key.length + value.length;
    return bytes;
  }

  get expiring(): number {
    return [...this.entries.values()].filter(({ deadline }) => deadline !== 0).length;
  }

  liveKeys(): string[] {
    return [...this.entries].filter(([, entry]) => this.#isLive(entry)).map(([key]) => key);
  }

  run(command: Command): Reply {
    const [op, args] = command;
    const text = (i: number): string => Buffer.from(bytesOf(args[i] ?? "")).toString("latin1");
    const all = args.map((_, i) => text(i));
    const entry = this.#get(text(0));
    return op < OP.set ? this.#read(command, all, entry) : this.#write(command, all, entry);
  }

  #read([op, args]: Command, all: string[], entry: Entry | undefined): Reply {
    switch (op) {
      case OP.get:
        return entry?.value ?? null;
      case OP.strlen:
        return entry?.value.length ?? 0;
      case OP.getRange:
        return this.#getRange(entry?.value ?? "", Number(args[1]), Number(args[2]));
      case OP.mget:
        return all.map((name) => this.#get(name)?.value ?? null);
      case OP.exists:
      case OP.touch:
        return all.filter((name) => this.#get(name) !== undefined).length;
      case OP.ttl:
        return this.#ttl(entry, Number(args[1]), Number(args[2]) === 1);
      case OP.type:
        return { status: entry === undefined ? "none" : "string" };
      case OP.dbSize:
        return this.entries.size;
      case OP.getRecord:
        return entry === undefined ? null : [entry.value, entry.revision, entry.deadline || -1];
      default:
        throw new Error(`the model does not know op ${op}`);
    }
  }

  #write([op, args]: Command, all: string[], entry: Entry | undefined): Reply {
    const [key = "", second = "", third = ""] = all;
    const int = (i: number): number => Number(args[i]);
    switch (op) {
      case OP.set:
        return this.#set(key, entry, second, int(2), int(3), args[4] ?? null, all[4] ?? "");
      case OP.getDel:
        if (entry !== undefined) this.#remove(key);
        return entry?.value ?? null;
      case OP.getEx:
        return this.#getEx(key, entry, int(1), int(2));
      case OP.getSet:
        this.#put(key, second, 0);
        return entry?.value ?? null;
      case OP.append:
        return this.#append(key, entry, second);
      case OP.setRange:
        return this.#setRange(key, entry, int(1), third);
      case OP.incrBy:
        return this.#incrBy(key, entry, BigInt(args[1] as number | bigint));
      case OP.mset:
      case OP.msetNx:
        return this.#mset(all, op === OP.msetNx);
      case OP.del:
        return all.filter((name) => this.#get(name) !== undefined && this.#remove(name)).length;
      case OP.expire:
        return this.#expire(key, entry, int(1), int(2));
      case OP.persist:
        return this.#persist(key, entry);
      case OP.rename:
        return this.#rename(key, second, int(2) !== 0);
      case OP.copy:
        return this.#copy(key, second, int(2) !== 0);
      case OP.flushAll:
        return this.#flushAll();
      case OP.delIf:
        return this.#delIf(key, entry, int(1), third, int(2));
      default:
        throw new Error(`the model does not know op ${op}`);
    }
  }

  #persist(key: string, entry: Entry | undefined): Reply {
    if (entry === undefined || entry.deadline === 0) return 0;
    this.#put(key, entry.value, 0);
    return 1;
  }

  #flushAll(): Reply {
    if (this.entries.size > 0) this.revision++;
    this.entries.clear();
    return OK;
  }

  #delIf(key: string, entry: Entry | undefined, bits: number, value: string, revision: number): Reply {
    const same = bits === SET_OPTION.ifValue ? entry?.value === value : entry?.revision === revision;
    if (same) this.#remove(key);
    return same ? 1 : 0;
  }

  #isLive({ deadline }: Entry): boolean {
    return deadline === 0 || deadline > this.timeMs;
  }

  #get(key: string): Entry | undefined {
    const entry = this.entries.get(key);
    return entry !== undefined && this.#isLive(entry) ? entry : undefined;
  }

  #put(key: string, value: string, deadline: number): void {
    this.entries.set(key, { value, deadline, revision: ++this.revision });
  }

  #remove(key: string): true {
    this.entries.delete(key);
    this.revision++;
    return true;
  }

  #getRange(value: string, start: number, end: number): Reply {
    if (start < 0 && end < 0 && start > end) return "";
    const from = start < 0 ? Math.max(0, value.length + start) : start;
    const to = end < 0 ? Math.max(0, value.length + end) : end;
    return value.slice(from, to + 1);
  }

  #ttl(entry: Entry | undefined, unit: number, absolute: boolean): Reply {
    if (entry === undefined) return -2;
    if (entry.deadline === 0) return -1;
    const ms = absolute ? entry.deadline : entry.deadline - this.timeMs;
    return unit === 1 ? ms : Math.round(ms / 1000);
  }

  #set(
    key: string,
    entry: Entry | undefined,
    value: string,
    bits: number,
    expiry: number,
    expected: unknown,
    expectedText: string,
  ): Reply {
    const timed = (bits & (SET_OPTION.expiryRelative | SET_OPTION.expiryAbsolute)) !== 0;
    if (timed && (expiry <= 0 || expiry > EXPIRY_MS_MAX))
      return error("invalid expire time in 'set' command");
    if (value.length > VALUE_MAX) return TOO_LONG;
    let holds = true;
    if ((bits & SET_OPTION.onlyIfAbsent) !== 0) holds &&= entry === undefined;
    if ((bits & SET_OPTION.onlyIfPresent) !== 0) holds &&= entry !== undefined;
    if ((bits & SET_OPTION.ifRevision) !== 0) holds &&= (entry?.revision ?? 0) === Number(expected);
    if ((bits & SET_OPTION.ifValue) !== 0) holds &&= entry?.value === expectedText;
    if (holds) {
      let deadline = timed ? expiry + ((bits & SET_OPTION.expiryRelative) !== 0 ? this.timeMs : 0) : 0;
      if ((bits & SET_OPTION.keepDeadline) !== 0 && entry !== undefined) deadline = entry.deadline;
      if (deadline === 0 || deadline > this.timeMs) this.#put(key, value, deadline);
      else if (entry !== undefined) this.#remove(key);
    }
    if ((bits & SET_OPTION.returnOld) !== 0) return entry?.value ?? null;
    if ((bits & SET_OPTION.returnRevision) !== 0) return [holds ? 1 : 0, this.#get(key)?.revision ?? 0];
    if ((bits & SET_OPTION.replyInteger) !== 0) return holds ? 1 : 0;
    return holds ? OK : null;
  }

  #getEx(key: string, entry: Entry | undefined, bits: number, expiry: number): Reply {
    const timed = (bits & (SET_OPTION.expiryRelative | SET_OPTION.expiryAbsolute)) !== 0;
    if (timed && expiry <= 0) return error("invalid expire time in 'getex' command");
    if (entry === undefined) return null;
    if (timed) {
      const deadline = (bits & SET_OPTION.expiryRelative) !== 0 ? this.timeMs + expiry : expiry;
      if (deadline > this.timeMs) this.#put(key, entry.value, deadline);
      else this.#remove(key);
    } else if ((bits & SET_OPTION.persist) !== 0 && entry.deadline !== 0) this.#put(key, entry.value, 0);
    return entry.value;
  }

  #append(key: string, entry: Entry | undefined, added: string): Reply {
    const value = (entry?.value ?? "") + added;
    if (value.length > VALUE_MAX) return TOO_LONG;
    if (entry === undefined || added !== "") this.#put(key, value, entry?.deadline ?? 0);
    return value.length;
  }

  #setRange(key: string, entry: Entry | undefined, offset: number, written: string): Reply {
    const old = entry?.value ?? "";
    if (offset < 0) return error("offset is out of range");
    if (written === "") return old.length;
    if (offset + written.length > VALUE_MAX) return TOO_LONG;
    const value = old.slice(0, offset).padEnd(offset, "\0") + written + old.slice(offset + written.length);
    this.#put(key, value, entry?.deadline ?? 0);
    return value.length;
  }

  #incrBy(key: string, entry: Entry | undefined, delta: bigint): Reply {
    const old = entry?.value ?? "0";
    const isInteger = /^(0|-?[1-9][0-9]{0,18})$/.test(old) && BigInt.asIntN(64, BigInt(old)) === BigInt(old);
    if (!isInteger) return error("value is not an integer or out of range");
    const sum = BigInt(old) + delta;
    if (BigInt.asIntN(64, sum) !== sum) return error("increment or decrement would overflow");
    this.#put(key, String(sum), entry?.deadline ?? 0);
    return Number.isSafeInteger(Number(sum)) ? Number(sum) : sum;
  }

  #mset(words: string[], onlyIfAbsent: boolean): Reply {
    if (words.some((word, i) => i % 2 === 1 && word.length > VALUE_MAX)) return TOO_LONG;
    if (onlyIfAbsent && words.some((word, i) => i % 2 === 0 && this.#get(word) !== undefined)) return 0;
    for (let i = 0; i < words.length; i += 2) this.#put(words[i] as string, words[i + 1] as string, 0);
    return onlyIfAbsent ? 1 : OK;
  }

  #expire(key: string, entry: Entry | undefined, time: number, bits: number): Reply {
    const has = (bit: number): boolean => (bits & bit) !== 0;
    if (has(EXPIRE_OPTION.onlyIfNone) && (bits & 28) !== 0) {
      return error("NX and XX, GT or LT options at the same time are not compatible");
    }
    if (has(EXPIRE_OPTION.onlyIfLater) && has(EXPIRE_OPTION.onlyIfSooner)) {
      return error("GT and LT options at the same time are not compatible");
    }
    if (Math.abs(time) > EXPIRY_MS_MAX) return error("invalid expire time in 'expire' command");
    if (entry === undefined) return 0;
    const deadline = has(EXPIRE_OPTION.relative) ? this.timeMs + time : time;
    const current = entry.deadline === 0 ? Number.POSITIVE_INFINITY : entry.deadline;
    if (has(EXPIRE_OPTION.onlyIfNone) && entry.deadline !== 0) return 0;
    if (has(EXPIRE_OPTION.onlyIfAny) && entry.deadline === 0) return 0;
    if (has(EXPIRE_OPTION.onlyIfLater) && deadline <= current) return 0;
    if (has(EXPIRE_OPTION.onlyIfSooner) && deadline >= current) return 0;
    if (deadline > this.timeMs) this.#put(key, entry.value, deadline);
    else this.#remove(key);
    return 1;
  }

  #rename(from: string, to: string, onlyIfAbsent: boolean): Reply {
    const entry = this.#get(from);
    if (entry === undefined) return error("no such key");
    const taken = this.#get(to) !== undefined;
    if (from !== to && !(onlyIfAbsent && taken)) {
      this.#put(to, entry.value, entry.deadline);
      this.#remove(from);
    }
    return onlyIfAbsent ? (taken ? 0 : 1) : OK;
  }

  #copy(from: string, to: string, replace: boolean): Reply {
    if (from === to) return error("source and destination objects are the same");
    const entry = this.#get(from);
    if (entry === undefined || (this.#get(to) !== undefined && !replace)) return 0;
    this.#put(to, entry.value, entry.deadline);
    return 1;
  }
}
