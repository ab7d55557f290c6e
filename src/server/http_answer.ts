/** Answers of the HTTP door: JSON, errors that say what to do, and which status an error of the store becomes. */
import type { HttpAnswer, HttpHeaders } from "../platform/platform.ts";
import { jsonBody } from "./http_request.ts";

/** Values are anybody's bytes: no browser may take one for a page of this door, and no cache may keep one. */
const ALWAYS: HttpHeaders = { "cache-control": "no-store", "x-content-type-options": "nosniff" };
/** Of a 503: not here, or not now. A second is as long as most of that lasts. */
const AGAIN: HttpHeaders = { "retry-after": "1" };

export function sendBytes(
  answer: HttpAnswer,
  status: number,
  type: string,
  body: Uint8Array,
  headers: HttpHeaders = {},
): void {
  const again = status === 503 ? AGAIN : {};
  answer.send(status, { ...ALWAYS, "content-type": type, ...again, ...headers }, body);
}

export function sendJson(
  answer: HttpAnswer,
  status: number,
  value: unknown,
  headers: HttpHeaders = {},
): void {
  sendBytes(answer, status, "application/json", jsonBody(value), headers);
}

export function sendError(
  answer: HttpAnswer,
  status: number,
  error: string,
  message: string,
  headers: HttpHeaders = {},
): void {
  sendJson(answer, status, { error, message }, headers);
}

/** No body at all: 304. */
export function sendEmpty(answer: HttpAnswer, status: number, headers: HttpHeaders): void {
  answer.send(status, { ...ALWAYS, ...headers }, new Uint8Array(0));
}

const STATUS: Readonly<Record<string, number>> = {
  CLUSTERDOWN: 503,
  TRYAGAIN: 503,
  LOADING: 503,
  OOM: 507,
  MISCONF: 507,
  UNCERTAIN: 504,
  WRONGTYPE: 409,
  STALE: 409,
  DONE: 409,
  CROSSSLOT: 400,
};

/** `text` begins with its prefix (fate.ts, store/errors.ts), which becomes the error's name. */
export function sendCommandError(answer: HttpAnswer, text: string, headers: HttpHeaders = {}): void {
  const mark = text.indexOf(" ");
  const prefix = mark < 0 ? text : text.slice(0, mark);
  const message = mark < 0 ? text : text.slice(mark + 1);
  const status = STATUS[prefix] ?? 400;
  if (prefix === "ERR") return sendError(answer, status, "bad_request", message, headers);
  const said = status === 504 ? `outcome unknown: ${message}` : message;
  sendError(answer, status, prefix, said, headers);
}
