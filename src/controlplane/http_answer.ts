/**
 * Answers of the HTTP surface: JSON, and a status that says what the asker may do.
 *
 *     400 it can never be so           404 no such thing, no such path      405 not by this method
 *     409 look again, then decide      429 too much at once                 503 not here, or not now
 *
 * An error is {error, message}: a word for programs, and for people what happened and what to do next.
 */
import { fromUtf8, toHex } from "../base/bytes.ts";

export type HttpCall = {
  readonly method: string;
  readonly path: string;
  /** Behind the "?". */
  readonly query: string;
  readonly body: Uint8Array;
};
export type HttpAnswer = { readonly status: number; readonly type: string; readonly text: string };

const JSON_TYPE = "application/json; charset=utf-8";
export const EVENTS_TYPE = "text/event-stream; charset=utf-8";

export function json(value: unknown, status = 200): HttpAnswer {
  return { status, type: JSON_TYPE, text: `${JSON.stringify(value, bytesAsHex)}\n` };
}

function bytesAsHex(_key: string, value: unknown): unknown {
  return value instanceof Uint8Array ? toHex(value) : value;
}

export function problem(status: number, error: string, message: string, more: object = {}): HttpAnswer {
  return json({ error, message, ...more }, status);
}

/** First words of errors that say: not now, and nothing was done. */
export const TRANSIENT: ReadonlySet<string> = new Set([
  "CLUSTERDOWN",
  "TRYAGAIN",
  "LOADING",
  "MISCONF",
  "OOM",
]);

const STATUS: Readonly<Record<string, number>> = {
  CONFLICT: 409,
  LIMIT: 409,
  STALE: 409,
  NOTFOUND: 404,
  INVALID: 400,
};

/** The error text of a transition or of the planner: its first word says what may be done. */
export function refusal(text: string): HttpAnswer {
  const word = text.slice(0, Math.max(0, text.indexOf(" ")));
  const status = TRANSIENT.has(word) ? 503 : (STATUS[word] ?? 400);
  return problem(status, word.toLowerCase() || "invalid", text.slice(word.length).trim());
}

export function elsewhere(leader: string | null): HttpAnswer {
  const what =
    leader === null
      ? "no control process leads that this one knows of: ask again in a second; a majority of them must run"
      : `this control process does not lead: ask the one at ${leader}, or any node, which asks the leader`;
  return problem(503, "elsewhere", what, { leader });
}

export function bodyText({ body }: HttpCall): string {
  return fromUtf8(body);
}

export function queryHas({ query }: HttpCall, name: string): boolean {
  return query.split("&").some((part) => (part.split("=")[0] ?? "") === name);
}
