/**
 * What an HTTP request asks for, read from its path, query and headers. Pure; errors are texts that say what to
 * send instead.
 *
 *     key         the path behind /kv/, percent-decoded into raw bytes; a slash is a byte like any other
 *     revision    an entity tag: the record's revision in quotes, "17"
 *     condition   If-Match / If-None-Match, as the store can judge them: one tag, or *
 */
import { utf8 } from "../base/bytes.ts";

/** The bytes that percent-encoded text stands for; null if it is malformed or was not encoded. */
export function percentDecode(text: string): Uint8Array | null {
  const bytes = new Uint8Array(text.length);
  let length = 0;
  for (let i = 0; i < text.length; i++) {
    let code = text.charCodeAt(i);
    if (code === 0x25) {
      const digits = text.slice(i + 1, i + 3);
      if (!/^[0-9a-fA-F]{2}$/.test(digits)) return null;
      code = Number.parseInt(digits, 16);
      i += 2;
    } else if (code <= 0x20 || code >= 0x7f) return null;
    bytes[length++] = code;
  }
  return bytes.subarray(0, length);
}

/** Parameters of a query, still encoded, `+` as it stands; or why it cannot be used. */
export function parseQuery(query: string, known: readonly string[]): ReadonlyMap<string, string> | string {
  const found = new Map<string, string>();
  for (const part of query === "" ? [] : query.split("&")) {
    const mark = part.indexOf("=");
    const name = mark < 0 ? part : part.slice(0, mark);
    if (!known.includes(name)) return `unknown parameter '${shown(name)}'; known here: ${known.join(", ")}`;
    if (found.has(name)) return `the parameter '${name}' is given twice`;
    found.set(name, mark < 0 ? "" : part.slice(mark + 1));
  }
  return found;
}

/** A whole number of a parameter; null if it is absent. */
export function numberOf(
  query: ReadonlyMap<string, string>,
  name: string,
  min: number,
  max: number,
): number | null | string {
  const text = query.get(name);
  if (text === undefined) return null;
  const value = /^\d{1,16}$/.test(text) ? Number(text) : -1;
  return value >= min && value <= max ? value : `'${name}' must be a whole number from ${min} to ${max}`;
}

/** Fit to be shown: no more than a line of it, and no control characters. */
export function shown(text: string): string {
  return text.slice(0, 64).replace(/[^ -~]/g, "?");
}

/** What a request demands of the record. */
export type Condition =
  | { readonly kind: "none" }
  | { readonly kind: "present" }
  | { readonly kind: "absent" }
  | { readonly kind: "revision"; readonly revision: number }
  /** A tag that no record of this store ever has. */
  | { readonly kind: "never" };

const ONE_TAG = "one revision in quotes, as an ETag header gave it, or *";

/** The condition of a PUT or DELETE, or why it cannot be used. */
export function writeCondition(headers: Readonly<Record<string, string>>): Condition | string {
  const match = headers["if-match"];
  const noneMatch = headers["if-none-match"];
  if (match !== undefined && noneMatch !== undefined) return "give If-Match or If-None-Match, not both";
  if (noneMatch !== undefined) {
    return noneMatch.trim() === "*"
      ? { kind: "absent" }
      : "If-None-Match of a write must be *: write if absent";
  }
  if (match === undefined) return { kind: "none" };
  const text = match.trim();
  if (text === "*") return { kind: "present" };
  if (text.includes(",")) return `If-Match must be ${ONE_TAG}`;
  const revision = revisionOf(text);
  if (revision !== null) return revision === 0 ? { kind: "never" } : { kind: "revision", revision };
  return /^(W\/)?"[^"]*"$/.test(text) ? { kind: "never" } : `If-Match must be ${ONE_TAG}`;
}

/** A strong tag, its quotes forgiven; null if it is none of this store's. */
function revisionOf(tag: string): number | null {
  const digits = /^"(\d{1,16})"$|^(\d{1,16})$/.exec(tag);
  if (digits === null) return null;
  const revision = Number(digits[1] ?? digits[2]);
  return Number.isSafeInteger(revision) ? revision : null;
}

/** The status that a read's conditions make of a record of this revision, null = absent; 200 if none speaks up. */
export function readStatus(
  headers: Readonly<Record<string, string>>,
  revision: number | null,
): 200 | 304 | 404 | 412 {
  const match = headers["if-match"];
  const noneMatch = headers["if-none-match"];
  const tags = (list: string): string[] => list.split(",").map((tag) => tag.trim());
  if (match !== undefined) {
    const holds = revision !== null && tags(match).some((tag) => tag === "*" || revisionOf(tag) === revision);
    if (!holds) return 412;
  }
  if (revision === null) return 404;
  if (noneMatch === undefined) return 200;
  const isKnown = tags(noneMatch).some(
    (tag) => tag === "*" || revisionOf(tag.replace(/^W\//, "")) === revision,
  );
  return isKnown ? 304 : 200;
}

/**
 * A page of another site in someone's browser must not reach a node through it. Requests that change something
 * carry an Origin header then, which must name this very door; and where the door is on loopback, the Host header
 * must be an address or "localhost", or the name is one that an attacker points to 127.0.0.1.
 */
export function foreignOrigin(headers: Readonly<Record<string, string>>, isLoopback: boolean): boolean {
  const { host = "", origin } = headers;
  if (origin !== undefined && origin.replace(/^https?:\/\//, "").toLowerCase() !== host.toLowerCase())
    return true;
  if (!isLoopback || host === "") return false;
  const name = host.replace(/:\d+$/, "").toLowerCase();
  return !(name === "localhost" || name.endsWith(".localhost") || /^\[[0-9a-f:.]+\]$|^[\d.]+$/.test(name));
}

export function isLoopbackHost(host: string): boolean {
  return host === "localhost" || host === "::1" || host.startsWith("127.");
}

/** `bytes` as a text of JSON: itself where it is UTF-8, else its base64. */
export function jsonKey(bytes: Uint8Array): string | { readonly base64: string } {
  try {
    return UTF8.decode(bytes);
  } catch {
    let latin = "";
    for (const byte of bytes) latin += String.fromCharCode(byte);
    return { base64: btoa(latin) };
  }
}

const UTF8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

export function jsonBody(value: unknown): Uint8Array {
  return utf8(`${JSON.stringify(value)}\n`);
}
