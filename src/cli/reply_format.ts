/**
 * Replies as text, three ways:
 *
 *     terminal  as redis-cli prints to a terminal: (integer) 1, (nil), "quoted", 1) numbered and indented
 *     raw       as redis-cli prints into a pipe: the bytes themselves, items on lines of their own
 *     json      one JSON value: strings that are not UTF-8 become {"base64": ".."}
 *
 * One thing differs from redis-cli: what is good, printable UTF-8 is shown as it is and not as \x bytes.
 */
import { concat, utf8 } from "../base/bytes.ts";
import type { Reply } from "../wire/resp_client_parse.ts";
import { type Paint, plain } from "./output.ts";

export type ReplyFormat = "terminal" | "raw" | "json";

/** The reply with its line end, ready to be written. */
export function formatReply(reply: Reply, format: ReplyFormat, paint: Paint): Uint8Array {
  if (format === "raw") return concat([...rawParts(reply), utf8("\n")]);
  if (format === "json") return utf8(`${jsonText(reply)}\n`);
  return utf8(`${terminalText(reply, "", paint)}\n`);
}

/** `indent` stands before every line but the first, whose place the caller has prepared. */
export function terminalText(reply: Reply, indent = "", paint: Paint = plain): string {
  switch (reply.kind) {
    case "simple":
      return harmless(reply.text);
    case "error":
      return paint("red", `(error) ${harmless(reply.text)}`);
    case "integer":
      return `(integer) ${reply.value}`;
    case "double":
    case "bignum":
      return `(${reply.kind}) ${reply.text}`;
    case "boolean":
      return `(${reply.value})`;
    case "nil":
      return paint("gray", "(nil)");
    case "bulk":
      return quoted(reply.bytes);
    case "verbatim":
      return decoder.decode(reply.bytes).replace(/\r?\n$/, "");
    default:
      return itemsText(reply, indent, paint);
  }
}

/** A line from a server may hold anything; what a terminal would obey is shown instead. */
function harmless(text: string): string {
  return text.replace(/\p{Cc}/gu, (control) => hexEscape(control.charCodeAt(0)));
}

type Items = Extract<Reply, { items: unknown }>;

const EMPTY: Readonly<Record<Items["kind"], string>> = {
  array: "(empty array)",
  set: "(empty set)",
  push: "(empty push)",
  map: "(empty hash)",
};
const MARK: Readonly<Record<Items["kind"], string>> = { array: ")", set: "~", push: ">", map: "#" };

function itemsText({ kind, items }: Items, indent: string, paint: Paint): string {
  if (items.length === 0) return paint("gray", EMPTY[kind]);
  const step = kind === "map" ? 2 : 1;
  const width = String(items.length / step).length;
  const inner = indent + " ".repeat(width + 2);
  const lines: string[] = [];
  for (let i = 0; i < items.length; i += step) {
    const number = `${String(i / step + 1).padStart(width)}${MARK[kind]} `;
    const parts = items.slice(i, i + step).map((item) => terminalText(item, inner, paint));
    lines.push((i === 0 ? "" : indent) + number + parts.join(" => "));
  }
  return lines.join("\n");
}

function rawParts(reply: Reply): Uint8Array[] {
  switch (reply.kind) {
    case "simple":
    case "error":
    case "double":
    case "bignum":
      return [utf8(reply.text)];
    case "integer":
    case "boolean":
      return [utf8(String(reply.value))];
    case "nil":
      return [];
    case "bulk":
    case "verbatim":
      return [reply.bytes];
    default:
      return reply.items.flatMap((item, i) => [...(i === 0 ? [] : [utf8("\n")]), ...rawParts(item)]);
  }
}

function jsonText(reply: Reply): string {
  switch (reply.kind) {
    case "simple":
      return JSON.stringify(reply.text);
    case "error":
      return JSON.stringify({ error: reply.text });
    case "integer":
      return String(reply.value);
    case "bignum":
      return reply.text;
    case "double":
      return Number.isFinite(Number(reply.text)) ? reply.text : JSON.stringify(reply.text);
    case "boolean":
      return String(reply.value);
    case "nil":
      return "null";
    case "bulk":
    case "verbatim":
      return jsonBytes(reply.bytes);
    case "map":
      return `{${pairs(reply.items)
        .map(([key, value]) => `${jsonKey(key)}:${jsonText(value)}`)
        .join(",")}}`;
    default:
      return `[${reply.items.map(jsonText).join(",")}]`;
  }
}

function pairs(items: readonly Reply[]): [Reply, Reply][] {
  return items.flatMap((key, i) => (i % 2 === 0 ? [[key, items[i + 1] as Reply]] : []));
}

function jsonKey(key: Reply): string {
  const text = jsonText(key);
  return text.startsWith('"') ? text : JSON.stringify(text);
}

const decoder = new TextDecoder("utf-8", { ignoreBOM: true });
const strictDecoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

function jsonBytes(bytes: Uint8Array): string {
  try {
    return JSON.stringify(strictDecoder.decode(bytes));
  } catch {
    return JSON.stringify({ base64: Buffer.from(bytes).toString("base64") });
  }
}

const ESCAPES = new Map<number, string>([
  [0x22, '\\"'],
  [0x5c, "\\\\"],
  [0x0a, "\\n"],
  [0x0d, "\\r"],
  [0x09, "\\t"],
  [0x07, "\\a"],
  [0x08, "\\b"],
]);

/** In double quotes, so that it could be typed back in. */
export function quoted(bytes: Uint8Array): string {
  let text = '"';
  let at = 0;
  while (at < bytes.length) {
    const byte = bytes[at] as number;
    const size = byte < 0x80 ? 1 : printableSize(bytes, at);
    if (byte >= 0x80 && size > 0) text += decoder.decode(bytes.subarray(at, at + size));
    else text += ESCAPES.get(byte) ?? (isPrintable(byte) ? String.fromCharCode(byte) : hexEscape(byte));
    at += Math.max(size, 1);
  }
  return `${text}"`;
}

function isPrintable(byte: number): boolean {
  return byte >= 0x20 && byte <= 0x7e;
}

function hexEscape(byte: number): string {
  return `\\x${byte.toString(16).padStart(2, "0")}`;
}

/** Bytes of the printable character that begins at `at`; 0 if none does. */
function printableSize(bytes: Uint8Array, at: number): number {
  const lead = bytes[at] as number;
  const size = lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : 2;
  if (lead < 0xc2 || lead > 0xf4 || at + size > bytes.length) return 0;
  try {
    const character = strictDecoder.decode(bytes.subarray(at, at + size));
    return /^[\p{L}\p{M}\p{N}\p{P}\p{S}]$/u.test(character) ? size : 0;
  } catch {
    return 0;
  }
}
