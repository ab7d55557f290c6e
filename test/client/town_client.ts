/** A client in a town of two shards, and what became of its calls. */
import t from "tap";
import { fromUtf8, utf8 } from "../../src/base/bytes.ts";
import type { Caller, ClientCore } from "../../src/client/core.ts";
import type { ClientError } from "../../src/client/errors.ts";
import { OP } from "../../src/wire/command.ts";
import { errorOf } from "./doors.ts";
import { bornIn, slotOfText, Town, type TownRules } from "./town.ts";

/** Keys whose slots belong to shard `shard` of two at first. */
export function keysOf(shard: number, count: number): string[] {
  const keys: string[] = [];
  for (let i = 0; keys.length < count; i++) if (bornIn(slotOfText(`k${i}`), 2) === shard) keys.push(`k${i}`);
  return keys;
}

export const [A = "", A2 = ""] = keysOf(0, 2);
export const [B = ""] = keysOf(1, 1);

export class Ends {
  readonly said: string[] = [];

  caller(name: string): Caller {
    return {
      onReply: (bytes, start, end) => {
        const isBlob = bytes[start] === 4;
        const text = isBlob ? fromUtf8(bytes.subarray(start + 5, end)) : (errorOf(bytes, start) ?? "ok");
        this.said.push(`${name}: ${text}`);
      },
      onError: (error: ClientError) => this.said.push(`${name}: ${error.code} ${error.message}`),
    };
  }
}

export function append(
  core: ClientCore,
  key: string,
  token: string,
  caller: Caller,
  timeoutMs?: number,
): void {
  const to = core.begin(OP.append, slotOfText(key), caller, timeoutMs);
  to.arg(utf8(key));
  to.arg(utf8(token));
  core.end();
}

export function get(core: ClientCore, key: string, caller: Caller): void {
  core.begin(OP.get, slotOfText(key), caller).arg(utf8(key));
  core.end();
}

/** Two shards, led by n1 and n2 of three nodes, and a client that has asked for both once. */
export function town(rules: TownRules = {}, nodes = 3) {
  const town = new Town(1, nodes, 2, rules);
  const ends = new Ends();
  let core: ClientCore | null = null;
  town.client((made) => {
    core = made;
    append(made, A, "", ends.caller(""));
    append(made, B, "", ends.caller(""));
  });
  town.run(200);
  t.same(ends.said, [": ok", ": ok"]);
  ends.said.length = 0;
  town.arrivals.length = 0;
  return { town, ends, core: core as unknown as ClientCore };
}
