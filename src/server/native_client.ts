/**
 * A connection that speaks the native protocol: command frames are checked and handed on as they are; replies
 * carry the request's id and leave in the order in which they become ready.
 *
 * Bounds are those of resp_client.ts. A malformed frame closes the connection; a malformed command in a good
 * frame is answered with an error.
 */
import { utf8 } from "../base/bytes.ts";
import { KiB, MiB } from "../base/units.ts";
import { WIRE_VERSION, WIRE_VERSION_READS } from "../base/version.ts";
import type { Connection } from "../platform/platform.ts";
import { CommandView } from "../wire/command.ts";
import { clientHello } from "../wire/control.ts";
import { decodeShape, ShapeError } from "../wire/msgpack.ts";
import {
  beginNative,
  endNative,
  NativeFrame,
  nativeParser,
  OPCODE,
  READ_BY,
  READ_HEAD_BYTES,
  READ_MODE,
  REPLY_FRAME_BYTES_MAX,
  readHead,
  writeNative,
  writeReadHead,
} from "../wire/native.ts";
import { ReplyEncoder } from "../wire/native_reply.ts";
import { DISCARD, type ReplySink } from "../wire/reply.ts";
import { validateCommand } from "../wire/validate.ts";
import type { Origin } from "./bundle.ts";
import type { Client, ClientHost } from "./client.ts";
import { TOO_LARGE } from "./fate.ts";
import { Lane } from "./lane.ts";
import type { ReadOrigin } from "./node_reads.ts";
import { Output } from "./output.ts";
import { BY_LEADER, type ReadBy, type ReplicaMode } from "./replica_reads.ts";

const REQUESTS_OPEN_MAX = 16 * KiB;
const OUTPUT_BYTES_MAX = MiB;
const OUTPUT_BYTES_CUT = 2 * REPLY_FRAME_BYTES_MAX;
const NOTHING = new Uint8Array(0);

export class NativeClient implements Client, Origin {
  readonly id: number;
  readonly connection: Connection;
  readonly protocolName = "native";
  readonly lane = new Lane();
  readonly sinceMs: number;
  lastMs: number;
  lastCommand = "";
  name = "";
  libName = "";
  libVersion = "";
  closing = false;
  readonly #host: ClientHost;
  readonly #parser = nativeParser("client");
  readonly #frame = new NativeFrame();
  readonly #view = new CommandView();
  readonly #output: Output;
  readonly #encoder: ReplyEncoder;
  #replyAt = 0;
  /** Where the native reply in it begins. */
  #replyBody = 0;
  /** The frame that waits to be admitted: copied, since the parser's buffer moves on. */
  #held: Uint8Array | null = null;
  #heldRequest = 0;
  #heldOrigin: Origin = this;
  #paused = false;
  /** It has asked for the map once: it is told of new ones. */
  #wantsMap = false;
  #gone = false;
  #cut = false;

  constructor(id: number, connection: Connection, host: ClientHost) {
    this.id = id;
    this.connection = connection;
    this.#host = host;
    this.#output = new Output(connection);
    this.#encoder = new ReplyEncoder(this.#output.writer);
    this.sinceMs = host.clock.monotonicMs();
    this.lastMs = this.sinceMs;
  }

  onOpen(): void {}

  onData(bytes: Uint8Array): void {
    if (this.#gone || this.closing) return;
    this.lastMs = this.#host.clock.monotonicMs();
    this.#parser.feed(bytes);
    this.#pump();
  }

  onDrain(): void {
    this.#host.touch(this);
  }

  onClose(): void {
    this.#gone = true;
    this.#host.onGone(this);
  }

  #pump(): void {
    const parser = this.#parser;
    while (this.#held === null && !this.closing) {
      if (this.#mustWait()) {
        parser.feed(NOTHING);
        this.#pause();
        break;
      }
      const event = parser.next();
      if (event === "more") break;
      const error = event === "error" ? "length" : this.#frame.read(parser.bytes, parser.start, parser.end);
      if (error !== null) {
        this.#closeWith(`malformed frame: ${error}`);
        break;
      }
      this.#request();
    }
    this.#host.touch(this);
  }

  #mustWait(): boolean {
    const isFull = this.lane.open >= REQUESTS_OPEN_MAX || this.lane.readsHereFull;
    return isFull || this.#output.queuedBytes > OUTPUT_BYTES_MAX;
  }

  #request(): void {
    const frame = this.#frame;
    switch (frame.opcode) {
      case OPCODE.command:
        return this.#command(frame.bodyStart, this, null);
      case OPCODE.read:
        return this.#read();
      case OPCODE.ping:
        return writeNative(this.#output.writer, OPCODE.pong, frame.requestId, frame.body());
      case OPCODE.hello:
        return this.#hello();
      case OPCODE.map:
        this.#wantsMap = true;
        return this.#tellMap(frame.requestId);
      case OPCODE.admin:
        return this.#admin();
      default:
        this.#closeWith(`a client does not send opcode ${frame.opcode}`);
    }
  }

  /** A read that a follower may answer. */
  #read(): void {
    const { bytes, bodyStart, bodyEnd, requestId } = this.#frame;
    const head = readHead(bytes, bodyStart, bodyEnd);
    const mode = head === null ? null : modeOf(head.code, head.ms);
    if (mode === null) return this.#closeWith("malformed frame: read");
    this.#command(bodyStart + READ_HEAD_BYTES, new NativeRead(this, requestId), mode);
  }

  #command(at: number, origin: ReadOrigin, mode: ReplicaMode | null): void {
    const { bytes, bodyEnd, requestId } = this.#frame;
    const view = this.#view;
    const bad = view.read(bytes, at, bodyEnd);
    if (bad !== null || view.end !== bodyEnd) {
      return this.#answerError(origin, requestId, `ERR malformed command: ${bad ?? "size"}`);
    }
    const error = validateCommand(view);
    if (error !== null) return this.#answerError(origin, requestId, error);
    const { reads } = this.#host;
    const follower = mode === null ? null : reads.followerFor(view, this.lane);
    if (mode !== null && follower !== null)
      return reads.readHere(follower, view, at, this.lane, origin, requestId, mode);
    this.#heldRequest = requestId;
    this.#heldOrigin = origin;
    if (this.#host.admit(view, at, this.lane, origin, requestId)) return;
    this.#held = bytes.slice(at, bodyEnd);
    this.#parser.feed(NOTHING);
    this.#pause();
    this.#host.waitForRoom(this);
  }

  retry(): void {
    if (this.#gone) return;
    if (this.#held !== null) {
      this.#view.readGood(this.#held, 0, this.#held.length);
      if (!this.#host.admit(this.#view, 0, this.lane, this.#heldOrigin, this.#heldRequest)) {
        this.#host.waitForRoom(this);
        return;
      }
      this.#held = null;
    }
    this.#resume();
  }

  /** Reads on if nothing speaks against it any more; otherwise asks to be asked again. */
  #resume(): void {
    if (this.#held !== null || !this.#paused) return;
    if (this.#mustWait()) return this.#host.waitForDrain(this);
    this.#paused = false;
    this.connection.resume();
    this.#pump();
  }

  #pause(): void {
    if (this.#paused) return;
    this.#paused = true;
    this.connection.pause();
  }

  /** May be said again: the answer tells who leads by now. */
  #hello(): void {
    const said = decodeShape(clientHello, this.#frame.body(), "hello");
    if (said instanceof ShapeError) return this.#closeWith(`malformed frame: ${said.reason}`);
    if (!said.wireVersions.includes(WIRE_VERSION)) {
      return this.#closeWith(
        `this node speaks wire version ${WIRE_VERSION}, not ${said.wireVersions.join(", ")}`,
      );
    }
    if (isWord(said.name)) this.name = said.name;
    if (isWord(said.version)) this.libVersion = said.version;
    const knows = said.wireVersions.includes(WIRE_VERSION_READS) ? WIRE_VERSION_READS : WIRE_VERSION;
    const reply = this.#host.info.helloReply(knows);
    writeNative(this.#output.writer, OPCODE.helloReply, this.#frame.requestId, reply);
  }

  #admin(): void {
    writeNative(this.#output.writer, OPCODE.adminReply, this.#frame.requestId, utf8(this.#host.info.json()));
  }

  /** Without a map, the answer is the push that comes with the first one. */
  #tellMap(requestId: number): void {
    const bytes = this.#host.cluster.view.mapBytes;
    if (bytes === null) return;
    writeNative(this.#output.writer, OPCODE.mapReply, requestId, bytes);
    this.#host.touch(this);
  }

  onTopology(): void {
    if (this.#wantsMap && !this.#gone && !this.closing) this.#tellMap(0);
  }

  #answerError(origin: Origin, requestId: number, text: string): void {
    origin.begin(requestId).error(text);
    if (!this.#cut) this.#finish();
  }

  #closeWith(why: string): void {
    writeNative(this.#output.writer, OPCODE.closing, 0, utf8(why));
    this.closing = true;
    this.#host.touch(this);
  }

  begin(tag: number): ReplySink {
    return this.beginWith(tag, null);
  }

  /** `by`: of a read that a follower might have answered. */
  beginWith(tag: number, by: ReadBy | null): ReplySink {
    if (this.#isCut()) return DISCARD;
    const { writer } = this.#output;
    this.#encoder.writer = writer;
    this.#replyAt = beginNative(writer, by === null ? OPCODE.reply : OPCODE.readReply, tag);
    if (by !== null) {
      const ms = by.stalenessMs === null ? null : Math.ceil(by.stalenessMs);
      writeReadHead(writer, READ_BY.indexOf(by.by), ms);
    }
    this.#replyBody = writer.length;
    return this.#encoder;
  }

  undo(): void {
    if (!this.#cut && !this.#gone) this.#output.writer.length = this.#replyAt;
  }

  end(_tag: number, mark: number): void {
    this.lane.leave(mark);
    if (!this.#cut && !this.#gone) this.#finish();
    this.#host.touch(this);
  }

  /** Replies that could not wait have filled the output: the connection gets nothing more and is closed. */
  #isCut(): boolean {
    if (this.outputBytes > OUTPUT_BYTES_CUT) this.#cut = true;
    return this.#cut || this.#gone;
  }

  #finish(): void {
    const { writer } = this.#output;
    if (writer.length - this.#replyAt > REPLY_FRAME_BYTES_MAX) {
      writer.length = this.#replyBody;
      this.#encoder.error(TOO_LARGE);
    }
    endNative(writer, this.#replyAt);
  }

  hasRoom(_tag: number): boolean {
    return this.#gone || this.outputBytes <= OUTPUT_BYTES_MAX;
  }

  fail(tag: number, mark: number, text: string): void {
    this.begin(tag).error(text);
    this.end(tag, mark);
  }

  takeBack(): boolean {
    return false;
  }

  flush(): void {
    if (this.#gone) return;
    this.#output.flush();
    if (this.#isCut()) return this.connection.destroy();
    if (this.closing) return this.connection.close();
    this.#resume();
  }

  get outputBytes(): number {
    return this.#output.queuedBytes;
  }
}

/** Fit for a line of CLIENT LIST. */
function isWord(text: string): boolean {
  return /^[!-~]*$/.test(text);
}

function modeOf(code: number, ms: number | null): ReplicaMode | null {
  if (code === READ_MODE.follower) return { mode: "follower", stalenessMsMax: -1 };
  return code === READ_MODE.stale ? { mode: "stale", stalenessMsMax: ms ?? -1 } : null;
}

/** Who waits for such a read: its answer says how it was made safe. */
class NativeRead implements ReadOrigin {
  readonly #client: NativeClient;
  readonly #request: number;
  #by: ReadBy = BY_LEADER;

  constructor(client: NativeClient, request: number) {
    this.#client = client;
    this.#request = request;
  }

  get lane(): Lane {
    return this.#client.lane;
  }

  onRead(_tag: number, by: ReadBy): void {
    this.#by = by;
  }

  begin(): ReplySink {
    return this.#client.beginWith(this.#request, this.#by);
  }

  undo(): void {
    this.#client.undo();
  }

  end(tag: number, mark: number): void {
    this.#client.end(tag, mark);
  }

  fail(tag: number, mark: number, text: string): void {
    this.begin().error(text);
    this.end(tag, mark);
  }

  hasRoom(tag: number): boolean {
    return this.#client.hasRoom(tag);
  }

  takeBack(): boolean {
    return false;
  }
}
