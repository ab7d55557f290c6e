/**
 * How a client of the HTTP door numbers its writes, so that one that it repeats takes effect once: the session block of a
 * command frame (wire/command.ts) in headers. The shard judges it as it judges any other (store/sessions.ts).
 *
 *     Nucleus-Session      32 hex digits, random: the client's id
 *     Nucleus-Seq          the write's number; each next write of the session has a higher one
 *     Nucleus-Not-After    milliseconds since 1970, at most a minute ahead: the write takes effect by then or never
 *     Nucleus-Floor        optional: the lowest number that the client may repeat yet. Left out, it is the write's own:
 *                          whoever begins a write has done with those before it
 *
 * A repeated write has the same id, number and time limit. It names none that it must follow: it goes alone on its slot
 * (lane.ts). Errors are texts that say what to send instead.
 */
import { fromHex } from "../base/bytes.ts";
import type { HttpHeaders } from "../platform/platform.ts";
import type { Session } from "../wire/command.ts";

const HEADERS = ["nucleus-session", "nucleus-seq", "nucleus-not-after"] as const;
const FLOOR = "nucleus-floor";

export function isNumbered(headers: HttpHeaders): boolean {
  return headers[FLOOR] !== undefined || HEADERS.some((name) => headers[name] !== undefined);
}

/** The session block of a write; null: it is not numbered. `nowMs`: what to call now in a message. */
export function sessionOf(headers: HttpHeaders, nowMs: number): Session | null | string {
  if (!isNumbered(headers)) return null;
  const missing = HEADERS.find((name) => headers[name] === undefined);
  if (missing !== undefined)
    return `a numbered write has Nucleus-Session, Nucleus-Seq and Nucleus-Not-After, and this one lacks ${missing}`;
  const [id = "", seqText = "", notAfterText = ""] = HEADERS.map((name) => headers[name]?.trim());
  const client = id.length === 32 ? fromHex(id) : null;
  if (client === null)
    return "Nucleus-Session must be 32 hex digits, random for each session (openssl rand -hex 16)";
  const seq = numberIn(seqText);
  if (seq === 0) return "Nucleus-Seq must be a whole number from 1 on, a higher one for each next write";
  const notAfter = numberIn(notAfterText);
  if (notAfter === 0)
    return `Nucleus-Not-After must be milliseconds since 1970, at most 60000 ahead, the same when the write is repeated; now it is ${nowMs}`;
  const floorText = headers[FLOOR];
  const floor = floorText === undefined ? seq : numberIn(floorText.trim());
  if (floor === 0 || floor > seq)
    return "Nucleus-Floor must be the lowest number of the session that may be repeated yet: from 1 to Nucleus-Seq";
  return { client, seq, floor, notAfter, after: 0 };
}

/** A whole number from 1 on; 0: it is none. */
function numberIn(text: string): number {
  const value = /^\d{1,16}$/.test(text) ? Number(text) : 0;
  return Number.isSafeInteger(value) ? value : 0;
}
