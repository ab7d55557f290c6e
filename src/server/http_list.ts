/**
 * GET /kv?prefix=..&limit=..&cursor=..: the names of keys, over all shards, in the order of their slots.
 *
 * It walks with SCAN: no frozen view, but every key that stays through the whole walk is met at least once. A page
 * ends at `limit` keys, or when WALK_MS have gone by; the next one begins at `cursor`, which is null at the end.
 */
import { utf8 } from "../base/bytes.ts";
import type { HttpAnswer, HttpRequest } from "../platform/platform.ts";
import { OP } from "../wire/command.ts";
import { sendCommandError, sendError, sendJson } from "./http_answer.ts";
import { type CallReply, frameOf } from "./http_call.ts";
import type { HttpDoor } from "./http_door.ts";
import { jsonKey, numberOf, parseQuery, percentDecode } from "./http_request.ts";

const LIMIT_DEFAULT = 100;
/** 10,000 keys of 16 KiB = 160 MB at the very worst, hence BYTES_MAX. */
const LIMIT_MAX = 10_000;
const BYTES_MAX = 4 * 1024 * 1024;
/** Records that one step looks at: about half a ms of the shard's time. */
const STEP = 1000;
const WALK_MS = 2000;

type Walk = {
  readonly door: HttpDoor;
  readonly request: HttpRequest;
  readonly answer: HttpAnswer;
  readonly pattern: Uint8Array;
  readonly limit: number;
  readonly untilMs: number;
  readonly keys: Uint8Array[];
  bytes: number;
};

export function serveList(door: HttpDoor, request: HttpRequest, answer: HttpAnswer): void {
  if (request.method !== "GET" && request.method !== "HEAD") {
    return sendError(answer, 405, "method_not_allowed", "a listing takes GET; a key is /kv/<key>", {
      allow: "GET, HEAD",
    });
  }
  const query = parseQuery(request.query, ["prefix", "limit", "cursor"]);
  if (typeof query === "string") return sendError(answer, 400, "bad_request", query);
  const prefix = percentDecode(query.get("prefix") ?? "");
  if (prefix === null) return sendError(answer, 400, "bad_request", "the prefix must be percent-encoded");
  const limit = numberOf(query, "limit", 1, LIMIT_MAX);
  const cursor = numberOf(query, "cursor", 0, Number.MAX_SAFE_INTEGER);
  if (typeof limit === "string") return sendError(answer, 400, "bad_request", limit);
  if (typeof cursor === "string") return sendError(answer, 400, "bad_request", cursor);
  const walk: Walk = {
    door,
    request,
    answer,
    pattern: globOf(prefix),
    limit: limit ?? LIMIT_DEFAULT,
    untilMs: door.clock.monotonicMs() + WALK_MS,
    keys: [],
    bytes: 0,
  };
  step(walk, cursor ?? 0, countOf(walk));
}

/** With a prefix few of the records that are looked at may be wanted. */
function countOf({ pattern, limit, keys }: Walk): number {
  return pattern.length > 0 ? STEP : Math.min(STEP, limit - keys.length);
}

/** Asks for about `count` records from the cursor on. */
function step(walk: Walk, cursor: number, count: number): void {
  const { door, request, answer, pattern } = walk;
  const frame = frameOf(pattern.length, (to) => {
    to.begin(OP.scan);
    to.argI64(cursor);
    to.argI64(count);
    to.arg(pattern);
    to.arg(new Uint8Array(0));
  });
  if (typeof frame === "string") return sendCommandError(answer, frame);
  door.call(request.connection, frame, (reply) => take(walk, cursor, count, reply));
}

function take(walk: Walk, cursor: number, count: number, { error, items }: CallReply): void {
  if (error !== null) return sendCommandError(walk.answer, error);
  const [next, ...found] = items as readonly Uint8Array[];
  const left = walk.limit - walk.keys.length;
  // More than was asked for: look again at fewer records, so that the cursor stands right behind what is given.
  if (found.length > left && count > left) return step(walk, cursor, left);
  for (const key of found) {
    walk.keys.push(key);
    walk.bytes += key.length;
  }
  const to = Number(new TextDecoder().decode(next));
  const full =
    walk.keys.length >= walk.limit || walk.bytes > BYTES_MAX || walk.door.clock.monotonicMs() > walk.untilMs;
  if (to !== 0 && !full) return step(walk, to, countOf(walk));
  const body = { keys: walk.keys.map(jsonKey), cursor: to === 0 ? null : String(to) };
  sendJson(walk.answer, 200, body, { "nucleus-node": walk.door.facts.node });
}

/** The pattern that matches what begins with `prefix`; empty = everything. */
function globOf(prefix: Uint8Array): Uint8Array {
  if (prefix.length === 0) return prefix;
  const special = utf8("*?[]\\^-");
  const pattern: number[] = [];
  for (const byte of prefix) {
    if (special.includes(byte)) pattern.push(0x5c);
    pattern.push(byte);
  }
  return Uint8Array.from([...pattern, 0x2a]);
}
