/**
 * Golden scripts of the store: lines of commands, each followed by its reply, indented.
 *
 *     set greeting "hello world" px=100       bytes as they are or quoted (\xNN, \"), options by name
 *       OK
 *     wait 100                                time passes and an empty batch is applied
 *     clock 100                               time passes, nothing is applied
 *     read +50 get greeting                   a read outside the log, 50 ms later by the leader's time
 *     session 1 seq=2 floor=1 life=5000 after=1 incrBy n 1
 *     state                                   keys, bytes, revision, deadlines
 *     reload                                  the store is replaced by its image
 *     # comment
 *
 * Numbers of an op are written in decimal. An op's arguments are what its line in wire/command.ts says.
 */
import { EXPIRE_OPTION, OP, type Op, SET_OPTION } from "../../src/wire/command.ts";
import { type Command, Driver, type Reply } from "./driver.ts";
import type { Arg, TestSession } from "./frames.ts";
import { reload } from "./images.ts";

/** By op: b = bytes, i = number; the last letter repeats. Ops with options are built by hand below. */
const KINDS: Readonly<Record<string, string>> = {
  getRange: "bii",
  ttl: "bii",
  scan: "iibb",
  randomKey: "i",
  setRange: "bib",
  incrBy: "bi",
  rename: "bbi",
  copy: "bbi",
};

export function runScript(script: string): string {
  const runner = new Runner();
  const out: string[] = [];
  for (const line of script.split("\n")) {
    if (line.startsWith("  ")) continue; // an earlier reply
    out.push(line);
    const words = wordsOf(line);
    if (words.length > 0) out.push(...runner.run(words).map((reply) => `  ${reply}`));
  }
  return out.join("\n");
}

class Runner {
  #driver = new Driver();

  run(words: string[]): string[] {
    const [first = "", ...rest] = words;
    switch (first) {
      case "wait":
        this.#driver.wait(Number(rest[0]));
        return [];
      case "clock":
        this.#driver.timeMs += Number(rest[0]);
        return [];
      case "read": {
        const [op, args] = commandOf(rest.slice(1), this.#driver);
        const reply = this.#driver.read(this.#driver.timeMs + Number(rest[0]), op, ...args);
        return reply === undefined ? ["(must wait)"] : show(reply, "");
      }
      case "session":
        return this.#session(rest);
      case "state":
        return [this.#state()];
      case "reload": {
        const hash = this.#driver.store.stateHash();
        this.#driver = reload(this.#driver);
        return hash === this.#driver.store.stateHash() ? [] : ["another hash"];
      }
      default:
        return show(this.#driver.apply(commandOf(words, this.#driver))[0] as Reply, "");
    }
  }

  #session(words: string[]): string[] {
    const options = new Map(words.slice(1, 5).map((word) => word.split("=") as [string, string]));
    const value = (name: string): number => Number(options.get(name));
    const session: TestSession = {
      client: Number(words[0]),
      seq: value("seq"),
      floor: value("floor"),
      notAfter: this.#driver.timeMs + value("life"),
      after: value("after"),
    };
    const [op, args] = commandOf(words.slice(5), this.#driver);
    return show(this.#driver.apply([op, args, session])[0] as Reply, "");
  }

  #state(): string {
    const { store, timeMs } = this.#driver;
    const earliest = store.earliestDeadlineMs();
    const next = earliest < 0 ? "none" : `${earliest - timeMs} ms`;
    return `${store.keyCount} keys, ${store.dataBytes} bytes, revision ${store.revision}, ${store.expiringCount} expiring, next ${next}`;
  }
}

function commandOf(words: string[], driver: Driver): Command {
  const [name = "", ...rest] = words;
  const op = (OP as Record<string, Op>)[name];
  if (op === undefined) throw new Error(`no such op: ${name}`);
  if (op === OP.set) return [op, setArgs(rest.slice(0, 2), rest.slice(2), driver)];
  if (op === OP.getEx) return [op, setArgs(rest.slice(0, 1), rest.slice(1), driver)];
  if (op === OP.expire) return [op, expireArgs(rest, driver)];
  if (op === OP.delIf) return [op, delIfArgs(rest)];
  const kinds = KINDS[name] ?? "b";
  return [
    op,
    rest.map((word, i): Arg => (kinds[Math.min(i, kinds.length - 1)] === "i" ? BigInt(word) : latin1(word))),
  ];
}

function setArgs(head: string[], options: string[], driver: Driver): Arg[] {
  let bits = 0;
  let expiry = 0n;
  let expected: Arg | null = null;
  for (const option of options) {
    const [name = "", value = ""] = option.split("=");
    if (name === "px") {
      bits |= SET_OPTION.expiryRelative;
      expiry = BigInt(value);
    } else if (name === "pxat") {
      // Written as a distance from the script's start, which is easier to read.
      bits |= SET_OPTION.expiryAbsolute;
      expiry = BigInt(driver.timeMs) + BigInt(value);
    } else {
      bits |= SET_OPTION[name as keyof typeof SET_OPTION];
      if (name === "ifRevision") expected = BigInt(value);
      if (name === "ifValue") expected = latin1(value);
    }
  }
  const args: Arg[] = [...head.map(latin1), bits, expiry];
  return expected === null ? args : [...args, expected];
}

function expireArgs([key = "", time = "", ...options]: string[], driver: Driver): Arg[] {
  let bits = 0;
  for (const option of options) {
    if (option !== "absolute") bits |= EXPIRE_OPTION[option as keyof typeof EXPIRE_OPTION];
  }
  const absolute = options.includes("absolute");
  const value = absolute ? BigInt(driver.timeMs) + BigInt(time) : BigInt(time);
  return [latin1(key), value, absolute ? bits : bits | EXPIRE_OPTION.relative];
}

function delIfArgs([key = "", condition = ""]: string[]): Arg[] {
  const [name = "", value = ""] = condition.split("=");
  const bit = SET_OPTION[name as keyof typeof SET_OPTION] ?? 0;
  return [latin1(key), bit, name === "ifRevision" ? BigInt(value) : latin1(value)];
}

function latin1(text: string): Uint8Array {
  return Buffer.from(text, "latin1");
}

/** Words by blanks; a quoted word may stand behind an option's "=". */
function wordsOf(line: string): string[] {
  const words = line.replace(/(^|\s)#.*/, "").match(/(?:[^\s"]|"(?:[^"\\]|\\.)*")+/g) ?? [];
  return words.map((word) =>
    word.replace(/"((?:[^"\\]|\\.)*)"/g, (_, quoted: string) =>
      quoted.replace(/\\(x[0-9a-f]{2}|.)/g, (_, code: string) =>
        code.length === 3 ? String.fromCharCode(Number.parseInt(code.slice(1), 16)) : code,
      ),
    ),
  );
}

function show(reply: Reply, indent: string): string[] {
  if (reply === null) return [`${indent}(nil)`];
  if (Array.isArray(reply)) {
    return reply.length === 0 ? [`${indent}(empty)`] : reply.flatMap((one) => show(one, `${indent}- `));
  }
  if (typeof reply === "string") return [`${indent}${quoted(reply)}`];
  if (typeof reply === "object") return [`${indent}${"error" in reply ? reply.error : reply.status}`];
  return [`${indent}(integer) ${reply}`];
}

function quoted(text: string): string {
  const shown = text.length > 60 ? `${text.slice(0, 60)}" .. ${text.length} bytes` : `${text}"`;
  return `"${shown.replace(/[^\x20-\x7e]/g, (c) => `\\x${c.charCodeAt(0).toString(16).padStart(2, "0")}`)}`;
}
