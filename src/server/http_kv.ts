/**
 * /kv/<key>: one record by HTTP. The body is the value's raw bytes, the entity tag its revision.
 *
 *     GET, HEAD  ?read=leader|follower|stale  &maxStaleness=ms      If-Match, If-None-Match
 *     PUT        ?ttl=seconds | ?ttlMs=ms                           If-Match: "17", If-Match: *, If-None-Match: *
 *     DELETE                                                        If-Match: "17", If-Match: *
 *
 * A write may carry a number, so that it takes effect once however often it is sent: http_session.ts.
 *
 * Every answer names the node that gave it, the shard and the shard's leader, and a read says how it was made safe.
 */
import type { HttpAnswer, HttpHeaders, HttpRequest } from "../platform/platform.ts";
import { slotOf } from "../ring/slot.ts";
import { EXPIRY_MS_MAX, OP, SET_OPTION } from "../wire/command.ts";
import { sendBytes, sendCommandError, sendEmpty, sendError, sendJson } from "./http_answer.ts";
import { type CallReply, frameOf, ReplyItems, TOO_LARGE_COMMAND } from "./http_call.ts";
import type { HttpDoor } from "./http_door.ts";
import {
  type Condition,
  numberOf,
  parseQuery,
  percentDecode,
  readStatus,
  writeCondition,
} from "./http_request.ts";
import { isNumbered, sessionOf } from "./http_session.ts";
import { BY_LEADER, type LocalOutcome, type LocalRead, type ReadBy } from "./replica_reads.ts";

const METHODS = "GET, HEAD, PUT, DELETE";

type Asked = {
  readonly door: HttpDoor;
  readonly request: HttpRequest;
  readonly answer: HttpAnswer;
  readonly key: Uint8Array;
  readonly slot: number;
};

export function serveKey(door: HttpDoor, request: HttpRequest, answer: HttpAnswer): void {
  const key = percentDecode(request.path.slice("/kv/".length));
  if (key === null) {
    return bad(answer, "the key must be percent-encoded: %20 for a blank, %25 for a percent sign");
  }
  const asked: Asked = { door, request, answer, key, slot: slotOf(key, 0, key.length) };
  switch (request.method) {
    case "GET":
    case "HEAD":
      return get(asked);
    case "PUT":
      return put(asked);
    case "DELETE":
      return remove(asked);
    default:
      sendError(answer, 405, "method_not_allowed", `a key takes ${METHODS}`, { allow: METHODS });
  }
}

function bad(answer: HttpAnswer, message: string): void {
  sendError(answer, 400, "bad_request", message);
}

/** Of a frame that could not be made. */
function badFrame(answer: HttpAnswer, text: string): void {
  if (text === TOO_LARGE_COMMAND) sendError(answer, 413, "too_large", text.slice("ERR ".length));
  else sendCommandError(answer, text);
}

/** Who answers, and for whom. */
function whereabouts({ door, slot }: Asked): HttpHeaders {
  const shard = door.facts.shardOf(slot);
  const headers: Record<string, string> = { "nucleus-node": door.facts.node };
  if (shard !== null) headers["nucleus-shard"] = shard.id;
  if (shard?.leader) headers["nucleus-leader"] = shard.leader.id;
  return headers;
}

// ------------------------------------------------------------------------------------------- reading

const READS: Readonly<Record<string, "leader" | LocalRead["mode"]>> = {
  leader: "leader",
  follower: "follower",
  stale: "stale",
  follower_ok: "stale",
};

function get(asked: Asked): void {
  const { request, answer, key, door } = asked;
  const query = parseQuery(request.query, ["read", "maxStaleness"]);
  if (typeof query === "string") return bad(answer, query);
  const how = READS[query.get("read") ?? "leader"];
  if (how === undefined) return bad(answer, "'read' must be leader, follower or stale");
  const most = numberOf(query, "maxStaleness", 0, Number.MAX_SAFE_INTEGER);
  if (typeof most === "string") return bad(answer, `${most} (milliseconds)`);
  if (most !== null && how !== "stale") return bad(answer, "'maxStaleness' goes with read=stale");
  if (isNumbered(request.headers)) return bad(answer, "a read has no number: it can be repeated without one");
  const frame = frameOf(key.length, (to) => {
    to.begin(OP.getRecord);
    to.arg(key);
  });
  if (typeof frame === "string") return badFrame(answer, frame);
  const { reads } = door;
  const askLeader = (): void =>
    door.call(request.connection, frame, (reply) => sendRecord(asked, reply, BY_LEADER));
  if (how === "leader" || reads === null) return askLeader();
  const items = new ReplyItems();
  const done = (outcome: LocalOutcome): void => {
    if (outcome.kind === "elsewhere") askLeader();
    else if (outcome.kind === "refused") sendCommandError(answer, outcome.text, whereabouts(asked));
    else sendRecord(asked, items.reply, outcome);
  };
  const { slot } = asked;
  const begin = (): ReplyItems => items;
  reads.read({ frame, slot, mode: how, stalenessMsMax: most ?? -1, begin, hasRoom: () => true, done });
}

function sendRecord(asked: Asked, { error, items }: CallReply, { by, stalenessMs }: ReadBy): void {
  const { answer, request } = asked;
  const headers: Record<string, string> = { ...whereabouts(asked) };
  if (error !== null) return sendCommandError(answer, error, headers);
  headers["nucleus-read"] = by;
  headers["nucleus-staleness-ms"] = stalenessMs === null ? "unknown" : String(Math.ceil(stalenessMs));
  const [value, revision, deadline] = items;
  const found = value instanceof Uint8Array && typeof revision === "number";
  const status = readStatus(request.headers, found ? revision : null);
  if (found) headers.etag = `"${revision}"`;
  if (status === 404) {
    return sendError(answer, 404, "not_found", "no such key; list keys with GET /kv?prefix=", headers);
  }
  if (status === 412) return sendPrecondition(answer, found ? revision : 0, headers);
  if (status === 304) return sendEmpty(answer, 304, headers);
  if (typeof deadline === "number" && deadline >= 0) headers["nucleus-expires-at-ms"] = String(deadline);
  sendBytes(answer, 200, "application/octet-stream", value as Uint8Array, headers);
}

/** `revision`: the record's now; 0 if there is none, null if nobody looked. */
function sendPrecondition(answer: HttpAnswer, revision: number | null, headers: HttpHeaders): void {
  const is = revision === 0 ? "there is no such key" : `the key is at revision ${revision}`;
  const message = `nothing was done: ${revision === null ? "the key does not have the wanted revision" : is}`;
  sendJson(answer, 412, { error: "precondition_failed", message, revision }, headers);
}

// ------------------------------------------------------------------------------------------- writing

function put(asked: Asked): void {
  const { request, answer, key, door } = asked;
  const { body } = request;
  const query = parseQuery(request.query, ["ttl", "ttlMs"]);
  if (typeof query === "string") return bad(answer, query);
  const seconds = numberOf(query, "ttl", 1, Math.floor(EXPIRY_MS_MAX / 1000));
  const ms = numberOf(query, "ttlMs", 1, EXPIRY_MS_MAX);
  if (typeof seconds === "string") return bad(answer, `${seconds} (seconds)`);
  if (typeof ms === "string") return bad(answer, `${ms} (milliseconds)`);
  if (seconds !== null && ms !== null) return bad(answer, "give 'ttl' or 'ttlMs', not both");
  const condition = writeCondition(request.headers);
  if (typeof condition === "string") return bad(answer, condition);
  const session = sessionOf(request.headers, door.clock.wallMs());
  if (typeof session === "string") return bad(answer, session);
  if (condition.kind === "never") return sendPrecondition(answer, null, whereabouts(asked));
  const lifeMs = seconds === null ? ms : seconds * 1000;
  const expiry = lifeMs === null ? 0 : SET_OPTION.expiryRelative;
  const frame = frameOf(key.length + body.length, (to) => {
    to.begin(OP.set, session);
    to.arg(key);
    to.arg(body);
    to.argI64(SET_OPTION.returnRevision | expiry | conditionBit(condition));
    to.argI64(lifeMs ?? 0);
    if (condition.kind === "revision") to.argI64(condition.revision);
  });
  if (typeof frame === "string") return badFrame(answer, frame);
  door.call(request.connection, frame, ({ error, items }) => {
    const headers = whereabouts(asked);
    if (error !== null) return sendCommandError(answer, error, headers);
    if (items.length !== 2) return sendOther(answer, headers);
    const [isDone, revision] = items as readonly number[];
    if (isDone !== 1) return sendPrecondition(answer, revision ?? 0, headers);
    sendJson(answer, 200, { revision }, { ...headers, etag: `"${revision}"` });
  });
}

/** The reply that the shard keeps for the number is none of such a command. */
function sendOther(answer: HttpAnswer, headers: HttpHeaders): void {
  const message =
    "nothing was done now: this number of the session was another command's; a new write needs a higher one";
  sendError(answer, 409, "number_used", message, headers);
}

function conditionBit({ kind }: Condition): number {
  if (kind === "revision") return SET_OPTION.ifRevision;
  if (kind === "absent") return SET_OPTION.onlyIfAbsent;
  return kind === "present" ? SET_OPTION.onlyIfPresent : 0;
}

function remove(asked: Asked): void {
  const { request, answer, key, door } = asked;
  const query = parseQuery(request.query, []);
  if (typeof query === "string") return bad(answer, "DELETE takes no parameters");
  const condition = writeCondition(request.headers);
  if (typeof condition === "string") return bad(answer, condition);
  if (condition.kind === "absent")
    return bad(answer, "a key that is absent cannot be deleted: If-Match only");
  const session = sessionOf(request.headers, door.clock.wallMs());
  if (typeof session === "string") return bad(answer, session);
  if (condition.kind === "never") return sendPrecondition(answer, null, whereabouts(asked));
  const frame = frameOf(key.length, (to) => {
    to.begin(condition.kind === "revision" ? OP.delIf : OP.del, session);
    to.arg(key);
    if (condition.kind !== "revision") return;
    to.argI64(SET_OPTION.ifRevision);
    to.argI64(condition.revision);
  });
  if (typeof frame === "string") return badFrame(answer, frame);
  door.call(request.connection, frame, ({ error, items }) => {
    const headers = whereabouts(asked);
    if (error !== null) return sendCommandError(answer, error, headers);
    if (items.length !== 1) return sendOther(answer, headers);
    if (items[0] === 1) return sendJson(answer, 200, { deleted: true }, headers);
    if (condition.kind !== "none") return sendPrecondition(answer, null, headers);
    sendError(answer, 404, "not_found", "no such key; nothing was deleted", headers);
  });
}
