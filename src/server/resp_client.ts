/**
 * A connection that speaks RESP: bytes in, commands to the router or to the door's own table, replies out in the
 * order of the requests.
 *
 *     onData -> parser -> door command: answered here and now
 *                      -> data command: translate -> frame -> router.admit   (held back if the router says so)
 *
 * Bounds: a connection with REQUESTS_OPEN_MAX unanswered requests, with its share of reads that wait at followers here
 * (lane.ts), or with OUTPUT_BYTES_MAX of replies that its reader has not taken, is not read from until that changes; at
 * OUTPUT_BYTES_CUT it is closed.
 */
import { Writer } from "../base/bytes.ts";
import { KiB, MiB } from "../base/units.ts";
import type { Connection } from "../platform/platform.ts";
import { CommandView, OP } from "../wire/command.ts";
import { CommandEncoder } from "../wire/command_encode.ts";
import { keyCount } from "../wire/command_keys.ts";
import { type CommandInfo, resolveCommand } from "../wire/command_table.ts";
import { translate } from "../wire/command_translate.ts";
import { DISCARD, type ReplySink } from "../wire/reply.ts";
import { HTTP_REFUSED, RespParser } from "../wire/resp_parse.ts";
import { RespEncoder } from "../wire/resp_reply.ts";
import type { Origin } from "./bundle.ts";
import type { Client, ClientHost, ControlAnswer } from "./client.ts";
import { translateClusterData } from "./cluster_commands.ts";
import { controlCall, runDoorCommand } from "./door_commands.ts";
import { CROSS_SLOT } from "./fate.ts";
import type { GroupReplica } from "./group.ts";
import { slotOfCommand } from "./keys.ts";
import { Lane } from "./lane.ts";
import { OrderedReplies } from "./ordered_replies.ts";
import { Output } from "./output.ts";
import type { ReplicaMode } from "./replica_reads.ts";

/** Pipelined requests of one connection under way: at 120 bytes each about 2 MiB in bundles. */
const REQUESTS_OPEN_MAX = 16 * KiB;
const OUTPUT_BYTES_MAX = MiB;
/** Replies that ride in the log cannot wait; these many bytes of them unread, and the connection is cut. */
const OUTPUT_BYTES_CUT = 32 * MiB;
const FOLLOWER: ReplicaMode = { mode: "follower", stalenessMsMax: -1 };
const NOTHING = new Uint8Array(0);
const CHANGES_PROTOCOL: ReadonlySet<string> = new Set(["hello", "reset"]);

export class RespClient implements Client, Origin {
  readonly id: number;
  readonly connection: Connection;
  readonly protocolName = "resp";
  readonly lane = new Lane();
  readonly encoder: RespEncoder;
  readonly sinceMs: number;
  name = "";
  libName = "";
  libVersion = "";
  lastCommand = "";
  lastMs: number;
  /** READONLY was said: reads are answered by this node's replica, if it has one. */
  readOnly = false;
  /** The connection ends when everything before was answered. */
  closing = false;
  commands = 0;
  readonly #host: ClientHost;
  readonly #parser = new RespParser();
  readonly #output: Output;
  readonly #replies: OrderedReplies;
  readonly #frame = new Writer(256);
  readonly #frameEncoder = new CommandEncoder(this.#frame);
  readonly #view = new CommandView();
  /** A translated command waits in `#frame` to be admitted. */
  #held = false;
  /** A command of the door's own waits until everything before it was answered. */
  #doorWaits: CommandInfo | null = null;
  #heldRequest = 0;
  #paused = false;
  #gone = false;
  #cut = false;

  constructor(id: number, connection: Connection, host: ClientHost) {
    this.id = id;
    this.connection = connection;
    this.#host = host;
    this.#output = new Output(connection);
    this.encoder = new RespEncoder(this.#output.writer);
    this.#replies = new OrderedReplies(this.encoder);
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

  /** Reads commands until there are none, or one has to wait. */
  #pump(): void {
    while (!this.#held && this.#doorWaits === null && !this.closing) {
      if (this.#mustWait()) {
        this.#parser.feed(NOTHING); // the chunk is only borrowed: keep what is left of it
        this.#pause();
        break;
      }
      const event = this.#parser.next();
      if (event === "more") break;
      if (event === "error") {
        if (this.#parser.errorText === HTTP_REFUSED) return this.connection.destroy();
        this.#answerError(this.#parser.errorText);
        this.closing = true;
      } else if (event === "refused") {
        this.#answerError(this.#parser.errorText);
      } else {
        this.#command();
      }
    }
    this.#host.touch(this);
  }

  #mustWait(): boolean {
    const isFull = this.#replies.open >= REQUESTS_OPEN_MAX || this.lane.readsHereFull;
    return isFull || this.outputBytes > OUTPUT_BYTES_MAX;
  }

  #command(): void {
    this.commands++;
    const parser = this.#parser;
    const spec = resolveCommand(parser);
    if (typeof spec === "string") return this.#answerError(spec);
    this.lastCommand = spec.name;
    this.#frame.clear();
    if (spec.op === null) {
      const isData = spec.name === "cluster" && translateClusterData(parser, this.#frameEncoder);
      if (isData === false) return this.#doorCommand(spec);
      if (typeof isData === "string") return this.#answerError(isData);
    } else {
      const error = translate(spec, parser, this.#frameEncoder, this.#host.random);
      if (error !== null) return this.#answerError(error);
    }
    this.#readFrame();
    const follower = this.readOnly ? this.#host.reads.followerFor(this.#view, this.lane) : null;
    if (follower !== null) return this.#readHere(follower);
    if (this.#host.redisMode === "cluster") {
      const elsewhere = this.#elsewhere();
      if (elsewhere !== null) return this.#answerError(elsewhere);
      this.#narrow();
    }
    this.#heldRequest = this.#replies.assign();
    this.#admit();
  }

  #readHere(follower: GroupReplica): void {
    const request = this.#replies.assign();
    this.#host.reads.readHere(follower, this.#view, 0, this.lane, this, request, FOLLOWER);
  }

  #readFrame(): void {
    this.#view.readGood(this.#frame.bytes, 0, this.#frame.length);
  }

  /** In cluster mode tools ask every master for DBSIZE and KEYS, and add up: here both are about what this node leads. */
  #narrow(): void {
    const { op, argCount } = this.#view;
    const isWide = (op === OP.dbSize && argCount === 0) || (op === OP.keys && argCount === 1);
    if (!isWide) return;
    const pattern = argCount === 0 ? null : this.#view.arg(0).slice();
    this.#frame.clear();
    this.#frameEncoder.begin(op);
    if (pattern !== null) this.#frameEncoder.arg(pattern);
    this.#frameEncoder.arg(this.#host.cluster.ownSlots);
    this.#frameEncoder.end();
    this.#readFrame();
  }

  /** In cluster mode: where the client is sent, as an error text; null: the command is taken here. */
  #elsewhere(): string | null {
    const view = this.#view;
    const slot = slotOfCommand(view);
    if (slot < 0) return keyCount(view) > 0 ? CROSS_SLOT : null;
    const { cluster } = this.#host;
    const leader = cluster.view.leaderOf(slot);
    if (leader === null || cluster.isSelf(leader)) return null; // without a leader it waits here for one
    return `MOVED ${slot} ${leader.host}:${leader.port}`;
  }

  /** What changes how replies are written waits until all before it were. */
  #doorCommand(spec: CommandInfo): void {
    if (CHANGES_PROTOCOL.has(spec.name) && this.#replies.open > 0) {
      this.#doorWaits = spec;
      this.#parser.feed(NOTHING); // its words stay
      this.#pause();
      return;
    }
    const request = this.#replies.assign();
    const call = spec.name === "nucleus" ? controlCall(this.#parser) : null;
    if (call !== null) return this.#host.control(call, (answer) => this.#controlAnswer(request, answer));
    runDoorCommand(spec, this.#parser, this, this.#replies.begin(request), this.#host);
    this.#replies.end(request);
  }

  #controlAnswer(request: number, answer: ControlAnswer | string): void {
    const reply = this.begin(request);
    if (typeof answer === "string") reply.error(answer);
    else {
      reply.array(2);
      reply.integer(answer.status);
      reply.blob(answer.body, 0, answer.body.length);
    }
    if (!this.#cut && !this.#gone) this.#replies.end(request);
    this.#host.touch(this);
  }

  #admit(): void {
    const admitted = this.#host.admit(this.#view, 0, this.lane, this, this.#heldRequest);
    this.#held = !admitted;
    if (admitted) return;
    this.#parser.feed(NOTHING);
    this.#pause();
    this.#host.waitForRoom(this);
  }

  #pause(): void {
    if (this.#paused) return;
    this.#paused = true;
    this.connection.pause();
  }

  /** A turn has passed: what was held back may go on now. */
  retry(): void {
    if (this.#gone) return;
    if (this.#held) this.#admit();
    this.#resume();
  }

  /** Reads on if nothing speaks against it any more; otherwise asks to be asked again. */
  #resume(): void {
    if (this.#held || !this.#paused) return;
    if (this.#doorWaits !== null && this.#replies.open > 0) return; // the reply that comes leads here again
    if (this.#mustWait()) return this.#host.waitForDrain(this);
    if (this.#doorWaits !== null) {
      const spec = this.#doorWaits;
      this.#doorWaits = null;
      this.#doorCommand(spec);
    }
    this.#paused = false;
    this.connection.resume();
    this.#pump();
  }

  #answerError(text: string): void {
    const request = this.#replies.assign();
    this.#replies.begin(request).error(text);
    this.#replies.end(request);
  }

  begin(tag: number): ReplySink {
    return this.#isCut() ? DISCARD : this.#replies.begin(tag);
  }

  undo(tag: number): void {
    if (!this.#cut && !this.#gone) this.#replies.undo(tag);
  }

  end(tag: number, mark: number): void {
    this.lane.leave(mark);
    if (!this.#cut && !this.#gone) this.#replies.end(tag);
    this.#host.touch(this);
  }

  /** Replies that could not wait have filled the output: the connection gets nothing more and is closed. */
  #isCut(): boolean {
    if (this.outputBytes > OUTPUT_BYTES_CUT) this.#cut = true;
    return this.#cut || this.#gone;
  }

  /** What others wait behind must not wait for them. */
  hasRoom(tag: number): boolean {
    const bytes = this.#replies.isNext(tag) ? this.#output.queuedBytes : this.outputBytes;
    return this.#gone || bytes <= OUTPUT_BYTES_MAX;
  }

  fail(tag: number, mark: number, text: string): void {
    this.begin(tag).error(text);
    this.end(tag, mark);
  }

  takeBack(): boolean {
    return false;
  }

  /** End of the turn: replies leave. */
  flush(): void {
    if (this.#gone) return;
    this.#output.flush();
    this.#replies.out = this.#output.writer;
    if (this.#isCut()) return this.connection.destroy();
    if (this.closing && this.#replies.open === 0) return this.connection.close();
    this.#resume();
  }

  get outputBytes(): number {
    return this.#output.queuedBytes + this.#replies.keptBytes;
  }
}
