/**
 * Golden scripts of this room: commands, what came of each indented below it. `UPDATE=1` writes what comes out
 * now into the file; the diff is then for a person to judge. A script is one life of one log after another:
 *
 *     entries 7 1..3 [term 2] [body 100]   append entries of group 7      vote 7 2 3     a hard state
 *     snapshot 7 2 1    a mark up to index 2 of term 1                    close 7        a tombstone
 *     sync              submit, and let the disk work                     idle           50 ms without a record
 *     write             submit; the disk writes but does not sync         kill           the process dies
 *     stop              a clean end
 *     show              every record of every segment                     start          a new life, and what it found
 *     flip S R head|body|synced    damage record R of segment S           flip S header  damage the segment's header
 *     zero S R          512 zeros from record R of segment S on
 *     truncate S N      the file has N bytes                              delete S       the file is gone
 *
 * Segments and records are counted from 0; negative numbers count from the end.
 */
import { readFileSync, writeFileSync } from "node:fs";
import type { Test } from "tap";
import { messageOf } from "../../src/base/errors.ts";
import {
  blankHead,
  decodeSegmentHeader,
  RECORD_HEAD_BYTES,
  RECORD_KIND,
  readCheckpointBody,
  readRecord,
  SEGMENT_HEADER_BYTES,
  segmentPlace,
} from "../../src/wal/format.ts";
import { textOf } from "./oracle.ts";
import { DIR, entryOf, World } from "./world.ts";

const KIND_NAMES = new Map<number, string>(Object.entries(RECORD_KIND).map(([name, kind]) => [kind, name]));

export function runScript(t: Test, name: string): void {
  const path = `testdata/wal/${name}.txt`;
  const before = readFileSync(path, "utf8");
  let after = "";
  let script = new Script();
  for (const line of before.split("\n").slice(0, -1)) {
    if (line.startsWith("  ")) continue;
    after += `${line}\n`;
    if (line.startsWith("#")) script = new Script();
    if (line === "" || line.startsWith("#")) continue;
    for (const output of script.run(line.split(/\s+/))) after += `  ${output}\n`;
  }
  compare(t, path, before, after, name);
}

/** A file that holds outputs alone. */
export function golden(t: Test, name: string, after: string): void {
  const path = `testdata/wal/${name}.txt`;
  let before = "";
  try {
    before = readFileSync(path, "utf8");
  } catch {
    // compared below: a missing file differs from every output
  }
  compare(t, path, before, after, name);
}

function compare(t: Test, path: string, before: string, after: string, title: string): void {
  if (process.env.UPDATE === "1" && before !== after) writeFileSync(path, after);
  else t.equal(after, before, title);
  t.ok(after.length > 0, "a script that checks nothing is a defect");
}

type Place = { readonly kind: string; readonly at: number; readonly end: number; readonly text: string };

/** The verifying records of a segment's bytes, in order; stops at the first place where none is. */
export function recordsOf(bytes: Uint8Array): Place[] {
  const header = decodeSegmentHeader(bytes.subarray(0, SEGMENT_HEADER_BYTES));
  if (typeof header === "string") return [];
  const place = segmentPlace(header);
  const head = blankHead();
  const records: Place[] = [];
  let at = SEGMENT_HEADER_BYTES;
  while (at < bytes.length) {
    if (readRecord(bytes, at, place, header.base + at, head) !== "good") {
      const boundary = Math.ceil(at / 4096) * 4096;
      if (boundary === at || readRecord(bytes, boundary, place, header.base + boundary, head) !== "good")
        break;
      at = boundary;
    }
    const kind = KIND_NAMES.get(head.kind) ?? "?";
    let text = `${head.lsn} D ${head.synced} ${kind}`;
    if (head.kind === RECORD_KIND.checkpoint) {
      const body = readCheckpointBody(bytes, at + RECORD_HEAD_BYTES, head.bodySize);
      text += ` after ${body?.predecessorEnd}`;
      for (const group of body?.groups ?? []) text += `, ${group.group} in ${group.first}..${group.last}`;
    } else if (head.group > 0)
      text += ` ${head.group} r${head.replica} term ${head.term} index ${head.index}`;
    records.push({ kind, at, end: head.end - header.base, text });
    at = head.end - header.base;
  }
  return records;
}

class Script {
  readonly #world = new World().open();

  run(words: readonly string[]): string[] {
    const [verb, ...rest] = words;
    const numbers = rest.map(Number);
    const [a = 0, b = 0, c = 0] = numbers;
    const { wal, disk } = this.#world;
    switch (verb) {
      case "entries":
        return this.#entries(rest);
      case "vote":
        wal.appendHardState(1, a, { term: b, vote: c, commit: 0 });
        return [];
      case "snapshot":
        wal.appendSnapshotMark(1, a, b, c);
        return [];
      case "close":
        wal.appendTombstone(1, a);
        return [];
      case "sync":
        this.#world.flush();
        return [];
      case "idle":
        wal.tick(60);
        disk.pump();
        return [];
      case "write":
        wal.submit();
        disk.fault = ({ kind }) => (kind === "datasync" ? "crash" : null);
        disk.pump();
        return [];
      case "stop":
        this.#world.close();
        return [];
      case "kill":
        this.#world.disk = disk.kill();
        return [];
      case "start":
        return this.#start();
      case "show":
        return this.#show();
      default:
        return this.#damage(verb ?? "", rest);
    }
  }

  #entries([group, range, ...options]: readonly string[]): string[] {
    const [first, last] = (range ?? "").split("..").map(Number);
    const option = (name: string, fallback: number): number => {
      const at = options.indexOf(name);
      return at < 0 ? fallback : Number(options[at + 1]);
    };
    for (let index = first as number; index <= (last as number); index++) {
      const entry = entryOf(Number(group), index, option("term", 1), option("body", 40));
      this.#world.wal.appendEntry(1, Number(group), entry);
    }
    return [];
  }

  #segments(): string[] {
    return this.#world.disk.names().filter((name) => name.startsWith(`${DIR}/log-`));
  }

  #damage(verb: string, rest: readonly string[]): string[] {
    const { disk } = this.#world;
    const path = this.#segments().at(Number(rest[0])) as string;
    const bytes = disk.content(path);
    const record = recordsOf(bytes).at(Number(rest[1]));
    if (verb === "delete") disk.remove(path);
    else if (verb === "truncate") disk.setContent(path, bytes.subarray(0, Number(rest[1])));
    else if (verb === "zero") {
      disk.harm(path, (content) => content.fill(0, record?.at, (record?.at as number) + 512));
    } else if (verb === "flip" && rest[1] === "header") disk.flip(path, 100, 16);
    else if (verb === "flip" && record !== undefined) {
      disk.flip(path, record.at + (rest[2] === "head" ? 50 : rest[2] === "body" ? 90 : 8), 16);
      return [record.text];
    } else throw new Error(`no such command: ${verb} ${rest.join(" ")}`);
    return [];
  }

  #start(): string[] {
    try {
      this.#world.open();
    } catch (error) {
      return [messageOf(error)];
    }
    const { recovered } = this.#world;
    const counts = `${recovered.segments} segments, ${recovered.records} records, ${recovered.tornBytes} bytes torn`;
    return [counts, ...textOf(recovered.groups, recovered.tombstones).split("\n")].filter(
      (line) => line !== "",
    );
  }

  #show(): string[] {
    return this.#segments().flatMap((path) => {
      const bytes = this.#world.disk.content(path);
      const header = decodeSegmentHeader(bytes.subarray(0, SEGMENT_HEADER_BYTES));
      if (typeof header === "string") return [`${path} ${header}`];
      const title = `${path.slice(DIR.length + 1)}: base ${header.base}, synced up to ${header.syncedLsn}`;
      return [title, ...recordsOf(bytes).map(({ text }) => `    ${text}`)];
    });
  }
}
