/** The generated parts of the pages: each is made from the source that it speaks of. */
import { utf8, Writer } from "../../src/base/bytes.ts";
import { RECOVERY_TABLE } from "../../src/wal/recovery.ts";
import { BATCH_BYTES_MAX, BATCH_HEADER_BYTES, COMMAND_ENCODING, sealBatch } from "../../src/wire/batch.ts";
import {
  ARGS_MAX,
  COMMAND_BYTES_MAX,
  EXPIRY_MS_MAX,
  KEY_BYTES_MAX,
  OP,
  OP_WRITE_MIN,
} from "../../src/wire/command.ts";
import { CommandEncoder } from "../../src/wire/command_encode.ts";
import { COMMANDS, type CommandInfo } from "../../src/wire/command_table.ts";
import { type PeerNote, peerNote } from "../../src/wire/control.ts";
import { encodeShape } from "../../src/wire/msgpack.ts";
import {
  OPCODE,
  PING_BYTES_MAX,
  REPLY_FRAME_BYTES_MAX,
  REQUEST_FRAME_BYTES_MAX,
  writeNative,
} from "../../src/wire/native.ts";
import { PEER_FRAME_BYTES_MAX, PEER_KIND } from "../../src/wire/peer.ts";
import { preamble } from "../../src/wire/preamble.ts";
import { BULK_BYTES_MAX, LINE_BYTES_MAX, MULTIBULK_COUNT_MAX } from "../../src/wire/resp_parse.ts";
import { ARGUMENT_SHAPES } from "../../src/wire/validate.ts";

const cell = (text: string): string => text.replaceAll("|", "\\|");
const row = (...cells: readonly (string | number)[]): string => `| ${cells.map(String).join(" | ")} |`;
const rule = (columns: number): string => `|${" --- |".repeat(columns)}`;

function commands(): string[] {
  const lines: string[] = [];
  for (const group of ["string", "generic", "connection", "server"] as const) {
    const members = COMMANDS.filter((command) => command.group === group);
    if (lines.length > 0) lines.push("");
    lines.push(`**${group}** (${members.length})`, "", row("Command", "What it does", "Redis"), rule(3));
    for (const command of members) lines.push(row(callOf(command), command.summary, command.since));
  }
  return [`${COMMANDS.length} commands.`, "", ...lines];
}

function callOf({ name, usage }: CommandInfo): string {
  return `\`${cell(`${name.toUpperCase()} ${usage}`.trimEnd())}\``;
}

function ops(): string[] {
  const list = Object.entries(OP).map(([name, op]) =>
    row(op, `\`${name}\``, op < OP_WRITE_MIN ? "read" : "write", `\`${ARGUMENT_SHAPES[op]}\``),
  );
  return [row("Op", "Name", "Kind", "Arguments"), rule(4), ...list];
}

function numbers(title: string, values: Readonly<Record<string, number>>): string[] {
  const list = Object.entries(values).map(([name, value]) => row(value, `\`${name}\``));
  return [row(title, "Name"), rule(2), ...list];
}

function limits(): string[] {
  const list: [string, number, string][] = [
    ["a key", KEY_BYTES_MAX, "bytes"],
    ["a command frame", COMMAND_BYTES_MAX, "bytes"],
    ["arguments of a command", ARGS_MAX, ""],
    ["an expiry, either way from 1970 or from now", EXPIRY_MS_MAX, "ms"],
    ["a batch (one log entry), header included", BATCH_BYTES_MAX, "bytes"],
    ["a native frame from a client", REQUEST_FRAME_BYTES_MAX, "bytes"],
    ["a native frame from a server", REPLY_FRAME_BYTES_MAX, "bytes"],
    ["the body of a ping", PING_BYTES_MAX, "bytes"],
    ["a frame between nodes", PEER_FRAME_BYTES_MAX, "bytes"],
    ["a RESP line: inline command, count or size", LINE_BYTES_MAX, "bytes"],
    ["words that a RESP request may announce", MULTIBULK_COUNT_MAX, ""],
    ["a RESP word that a request may announce", BULK_BYTES_MAX, "bytes"],
  ];
  const shown = list.map(([what, most, unit]) => row(what, `${most.toLocaleString("en")} ${unit}`.trim()));
  return [row("What", "At most"), rule(2), ...shown];
}

function hexDump(bytes: Uint8Array): string[] {
  const lines: string[] = [];
  for (let at = 0; at < bytes.length; at += 16) {
    const part = [...bytes.subarray(at, at + 16)];
    const hex = part.map((byte) => byte.toString(16).padStart(2, "0")).join(" ");
    const text = part.map((byte) => (byte > 0x20 && byte < 0x7f ? String.fromCharCode(byte) : ".")).join("");
    lines.push(`${at.toString(16).padStart(4, "0")}  ${hex.padEnd(47)}  ${text}`);
  }
  return lines;
}

/** `SET hello world` as it travels: request, frame, native frame, batch. */
function example(): string[] {
  const frame = new Writer();
  const encoder = new CommandEncoder(frame);
  encoder.begin(OP.set);
  encoder.arg(utf8("hello"));
  encoder.arg(utf8("world"));
  encoder.argI64(0);
  encoder.argI64(0);
  encoder.end();
  const native = new Writer();
  native.raw(preamble("client"));
  writeNative(native, OPCODE.command, 1, frame.view());
  const batch = new Writer();
  batch.zeros(BATCH_HEADER_BYTES);
  batch.raw(frame.view());
  sealBatch(batch.bytes, 0, {
    bodySize: frame.length,
    group: 7,
    term: 1,
    index: 3,
    timeMs: 1_700_000_000_000,
    count: 1,
    kind: 1,
    encoding: COMMAND_ENCODING,
    stateVersion: 1,
  });
  const resp = utf8("*3\r\n$3\r\nSET\r\n$5\r\nhello\r\n$5\r\nworld\r\n");
  return [
    "```text",
    "RESP request",
    ...hexDump(resp),
    "",
    "command frame: size 46, op 64 (set), flags 0, 4 arguments",
    ...hexDump(frame.copy()),
    "",
    "native: preamble, then a frame of 62 bytes, opcode 1 (command), request id 1, the same command frame",
    ...hexDump(native.copy()),
    "",
    "batch: body of 46 bytes, checksum, group 7, term 1, index 3, a time, 1 command, kind 1, encoding 1, state version 1",
    ...hexDump(batch.copy()),
    "```",
  ];
}

/** The notes between nodes, each in the body of a `control` frame. */
function notes(): string[] {
  const [group, replica] = [7, 4];
  const incarnation = "00112233445566778899aabbccddeeff";
  const create = { group, replica, incarnation, bootstrap: null };
  const hash = { group, replica, index: 128, hash: "0123456789abcdef" };
  const shown = (title: string, note: PeerNote): string[] => [title, ...hexDump(encodeShape(peerNote, note))];
  return [
    "```text",
    ...shown("create: group 7, replica 4, on the node of that incarnation", { kind: "create", create }),
    "",
    ...shown("close: group 7, replica 4", { kind: "close", close: { group, replica } }),
    "",
    ...shown("hash: of group 7 on replica 4 when it had applied index 128", { kind: "hash", hash }),
    "",
    ...shown("held: all that the node holds now", {
      kind: "held",
      held: [{ group, replica, quarantined: false }],
    }),
    "",
    ...shown("claim: shard s2, group 8, serves slots 0 to 255 since epoch 9", {
      kind: "claim",
      claim: { shard: "s2", group: 8, epoch: 9, slots: [[0, 255]] },
    }),
    "```",
  ];
}

function recovery(): string[] {
  const list = RECOVERY_TABLE.map(({ label, when, verdict }) => {
    const facts = Object.entries(when).map(([fact, value]) => `${value ? "" : "not "}${fact}`);
    return row(label, facts.map((fact) => `\`${fact}\``).join(", "), `**${verdict}**`);
  });
  return [row("Row", "When", "Verdict"), rule(3), ...list];
}

export const GENERATED: Readonly<Record<string, () => readonly string[]>> = {
  commands,
  ops,
  opcodes: () => numbers("Opcode", OPCODE),
  "peer kinds": () => numbers("Kind", PEER_KIND),
  limits,
  notes,
  example,
  recovery,
};
