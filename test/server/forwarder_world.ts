/** One group's forwarder with a small double of its node: what is sent and given back is remembered. */
import { utf8, Writer } from "../../src/base/bytes.ts";
import { Bundle } from "../../src/server/bundle.ts";
import { Forwarder } from "../../src/server/forwarder.ts";
import { Numbering } from "../../src/server/numbering.ts";
import { CommandView, type Op, type Session } from "../../src/wire/command.ts";
import { CommandEncoder } from "../../src/wire/command_encode.ts";
import { ReplyEncoder } from "../../src/wire/native_reply.ts";
import type { ForwardReply } from "../../src/wire/peer_decode.ts";
import { FORWARD_STATUS, type ForwardStatus, type NotServed } from "../../src/wire/peer_encode.ts";
import type { ReplySink } from "../../src/wire/reply.ts";
import { FakeOrigin } from "./doubles.ts";

export { Bundle };

export type Command = readonly [op: Op, keys: readonly string[], tag: number];

/** Commands of one connection. */
export function bundleOf(origin: FakeOrigin, commands: readonly Command[], sinceTick = 0): Bundle {
  const bundle = new Bundle();
  bundle.sinceTick = sinceTick;
  for (const [op, keys, tag] of commands) {
    const writer = new Writer(64);
    const encoder = new CommandEncoder(writer);
    encoder.begin(op);
    for (const key of keys) encoder.arg(utf8(key));
    encoder.end();
    const start = bundle.writer.length;
    bundle.writer.raw(writer.view());
    bundle.add(start, origin, tag, 0);
  }
  return bundle;
}

export type Sent = { node: string; id: number; rides: boolean; resumes: boolean; bundle: Bundle };

const CLIENT = new Uint8Array(16).fill(9);

export function world(client = CLIENT, numbering = new Numbering()) {
  const state = { open: true };
  const hints: { node: string; term: number; leader: string }[] = [];
  const open = new Set<number>();
  const refused: { bundle: Bundle; rides: boolean; refusal: NotServed }[] = [];
  const sent: Sent[] = [];
  const back: { bundle: Bundle; rides: boolean }[] = [];
  const forwarder = new Forwarder(client, {
    canSend: () => state.open,
    openRequest: () => {
      const id = numbering.nextRequest();
      open.add(id);
      return id;
    },
    closeRequest: (id) => void open.delete(id),
    sendRequest: (node, id, rides, resumes, bundle) => void sent.push({ node, id, rides, resumes, bundle }),
    onNotServed: (bundle, i, rides, refusal) => void refused.push({ bundle: bundle.only(i), rides, refusal }),
    onNotLeader: (node, term, leader) => void hints.push({ node, term, leader }),
    leaderTimeMs: () => 1_000_000,
    giveBack: (bundle, rides) => void back.push({ bundle, rides }),
  });
  return { state, sent, back, hints, refused, open, forwarder, origin: new FakeOrigin() };
}

export function sessionOf(bundle: Bundle, i: number): Session | null {
  const view = new CommandView();
  if (view.read(bundle.writer.bytes, bundle.start(i), bundle.endOf(i)) !== null) throw new Error("malformed");
  return view.hasSession ? view.session() : null;
}

export function reply(request: number, ordinal: number, say: (sink: ReplySink) => void): ForwardReply {
  const writer = new Writer(64);
  say(new ReplyEncoder(writer));
  return row(request, ordinal, FORWARD_STATUS.ok, writer.copy());
}

export function row(
  request: number,
  ordinal: number,
  status: ForwardStatus,
  bytes: Uint8Array = new Uint8Array(0),
  text = "",
): ForwardReply {
  return { request, ordinal, status, bytes, start: 0, end: bytes.length, text, term: 0, refusal: null };
}

export const ok = (request: number, ordinal: number): ForwardReply =>
  reply(request, ordinal, (sink) => sink.simple("OK"));
