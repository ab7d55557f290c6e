/**
 * One command on its way for an HTTP request: the origin that waits for it, and the reply as plain values.
 *
 * One lane serves a connection: HTTP lets a client send a second request before the first is answered, and demands
 * that what it asked for first takes effect first (RFC 9112, 9.3.2). A lane for each request would let a GET
 * overtake the PUT before it.
 */
import { assert } from "../base/assert.ts";
import { Writer } from "../base/bytes.ts";
import { CommandView } from "../wire/command.ts";
import { CommandEncoder } from "../wire/command_encode.ts";
import type { ReplySink } from "../wire/reply.ts";
import { validateCommand } from "../wire/validate.ts";
import type { Origin } from "./bundle.ts";
import { Lane } from "./lane.ts";

export type ReplyItem = null | string | number | bigint | Uint8Array;

/** A reply with its lists unfolded: [value, revision, deadline]; or the error. */
export type CallReply = { readonly error: string | null; readonly items: readonly ReplyItem[] };

/** A reply's verbs as values. */
export class ReplyItems implements ReplySink {
  items: ReplyItem[] = [];
  failure: string | null = null;

  clear(): void {
    this.items = [];
    this.failure = null;
  }

  nil(): void {
    this.items.push(null);
  }

  simple(text: string): void {
    this.items.push(text);
  }

  error(text: string): void {
    this.failure = text;
  }

  integer(value: number | bigint): void {
    this.items.push(value);
  }

  blob(bytes: Uint8Array, start: number, end: number): void {
    this.items.push(bytes.slice(start, end));
  }

  array(): void {}

  map(): void {}

  get reply(): CallReply {
    return { error: this.failure, items: this.items };
  }
}

/** The commands of one connection: those under way, and those that wait for room, oldest first. */
export class HttpLane {
  readonly lane = new Lane();
  readonly held: HttpCall[] = [];

  constructor() {
    this.lane.numberedGoAlone = true;
  }
}

export class HttpCall implements Origin {
  readonly frame: Uint8Array;
  readonly lane: Lane;
  readonly #hasRoom: () => boolean;
  readonly #done: (reply: CallReply) => void;
  readonly #items = new ReplyItems();

  constructor(
    frame: Uint8Array,
    { lane }: HttpLane,
    hasRoom: () => boolean,
    done: (reply: CallReply) => void,
  ) {
    this.frame = frame;
    this.lane = lane;
    this.#hasRoom = hasRoom;
    this.#done = done;
  }

  begin(): ReplySink {
    this.#items.clear();
    return this.#items;
  }

  undo(): void {
    this.#items.clear();
  }

  end(_tag: number, mark: number): void {
    this.lane.leave(mark);
    this.#done(this.#items.reply);
  }

  fail(tag: number, mark: number, text: string): void {
    this.begin().error(text);
    this.end(tag, mark);
  }

  hasRoom(): boolean {
    return this.#hasRoom();
  }

  takeBack(): boolean {
    return false;
  }
}

const view = new CommandView();

/** The command that `fill` writes, as a checked frame; or the error text to answer. */
export function frameOf(bytesExpected: number, fill: (to: CommandEncoder) => void): Uint8Array | string {
  const encoder = new CommandEncoder(new Writer(bytesExpected + 128));
  fill(encoder);
  encoder.end();
  const frame = encoder.writer.view();
  const bad = view.read(frame, 0, frame.length);
  if (bad === "size") return TOO_LARGE_COMMAND;
  assert(bad === null, "the door writes well-formed frames");
  return validateCommand(view) ?? frame;
}

export const TOO_LARGE_COMMAND = "ERR key and value are larger than a command may be";
