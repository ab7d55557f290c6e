/**
 * The control plane's state as the state machine of a group: what the driver (server/group.ts) asks of a store, over
 * MetaState. Commands are those of commands.ts, in ordinary frames. A read gives nothing: who asks learns that the state is
 * fresh, and looks at it (replica_port.ts).
 *
 * Replies: the number of a transition's reply as an integer, or its error. A frame that holds no command of ours is
 * answered with an error and changes nothing, on every replica alike. Session numbers are not looked at: every command
 * is good to be repeated (commands.ts).
 *
 * Errors: only a batch of a newer state version stops the replica: NucleusError "state_version".
 */
import { assert } from "../base/assert.ts";
import { Reader } from "../base/bytes.ts";
import { ENTRY_KIND, type Index, type Term } from "../raft/types.ts";
import { checkStateVersion } from "../store/state_version.ts";
import type {
  ApplyListener,
  ReadOutcome,
  ServedSlots,
  SlotFate,
  SnapshotSink,
  SnapshotSource,
  Store,
  StoreSettings,
} from "../store/types.ts";
import { batchBody, batchCount, batchKind, batchTimeMs } from "../wire/batch.ts";
import { CommandView, OP_WRITE_MIN } from "../wire/command.ts";
import { decodeShape, ShapeError } from "../wire/msgpack.ts";
import type { ReplySink } from "../wire/reply.ts";
import { metaBootstrap, readCommand } from "./commands.ts";
import { hashOf, type Image, imageFrames } from "./image.ts";
import { ImageReader } from "./image_reader.ts";
import { emptyState, type MetaState, type Reply } from "./state.ts";
import { transition } from "./transition.ts";

const NO_CLUSTER = "0".repeat(32);
const NO_LIMITS: StoreSettings = {
  memoryBytesMax: Number.MAX_SAFE_INTEGER,
  sessionRepliesMax: Number.MAX_SAFE_INTEGER,
  sessionsMax: Number.MAX_SAFE_INTEGER,
};
const MALFORMED = "ERR malformed command in batch";

export class MetaStore implements Store {
  appliedIndex: Index = 0;
  appliedTerm: Term = 0;
  logTimeMs = 0;
  /** Commands that changed something. */
  revision = 0;
  #state: MetaState = emptyState(NO_CLUSTER);
  readonly #view = new CommandView();

  /** As of the last applied entry; a value that nobody changes. */
  get state(): MetaState {
    return this.#state;
  }

  apply(index: Index, term: Term, batch: Uint8Array, listener: ApplyListener): void {
    assert(index === this.appliedIndex + 1, "entries are applied in order, without gaps");
    checkStateVersion(index, batch);
    this.logTimeMs = Math.max(this.logTimeMs, batchTimeMs(batch));
    const kind = batchKind(batch);
    if (kind === ENTRY_KIND.commands) this.#applyCommands(index, batch, listener);
    else if (kind === ENTRY_KIND.bootstrap) this.#applyBootstrap(batch);
    this.appliedIndex = index;
    this.appliedTerm = term;
  }

  #applyCommands(index: Index, batch: Uint8Array, listener: ApplyListener): void {
    const view = this.#view;
    const body = batchBody(batch);
    const count = batchCount(batch);
    let at = 0;
    let readable = true;
    for (let ordinal = 0; ordinal < count; ordinal++) {
      const sink = listener.begin(ordinal);
      readable = readable && view.read(body, at, body.length) === null;
      if (!readable) sink.error(MALFORMED);
      else {
        at = view.end;
        if (view.op < OP_WRITE_MIN) sink.nil();
        else this.#execute(view, index, sink);
      }
      listener.end(ordinal);
    }
  }

  #execute(view: CommandView, index: Index, sink: ReplySink): void {
    const command = readCommand(view);
    if (command instanceof ShapeError) return sink.error(`INVALID ${command.reason}`);
    const { state, reply } = transition(this.#state, command, index);
    if (state !== this.#state) this.revision++;
    this.#state = state;
    send(reply, sink);
  }

  /** Entries of another form change nothing, on every replica alike. */
  #applyBootstrap(batch: Uint8Array): void {
    const reader = new Reader(batchBody(batch));
    reader.blob(); // the group's config is raft's business
    const rest = reader.raw(reader.left);
    const bootstrap = reader.failed ? null : decodeShape(metaBootstrap, rest, "bootstrap");
    if (bootstrap === null || bootstrap instanceof ShapeError) return;
    this.#state = { ...emptyState(bootstrap.cluster), settings: bootstrap.settings };
  }

  tidy(): boolean {
    return false;
  }

  read(command: CommandView, _nowMs: number, reply: ReplySink): ReadOutcome {
    assert(command.op < OP_WRITE_MIN, "only reads are answered without an entry");
    reply.nil();
    return "done";
  }

  // This state machine is no shard: it has no slots, and refuses nothing for want of them.
  readonly shard = "";
  readonly refusedSlot = -1;

  slotFate(): SlotFate {
    return { state: "serving", epoch: 0, movedTo: null };
  }

  isServed(): boolean {
    return true;
  }

  slotsHeld(): ServedSlots {
    return this.slotsServed();
  }

  slotsServed(): ServedSlots {
    return { count: 0, ranges: [] };
  }

  stateHash(): string {
    return hashOf(this.#state);
  }

  /** Nothing here expires. */
  earliestDeadlineMs(): number {
    return -1;
  }

  /** Nodes and shards: what there is to list. */
  get keyCount(): number {
    return this.#state.nodes.size + this.#state.shards.size;
  }

  /** Limits of a key-value store, which this is not. */
  readonly settings = NO_LIMITS;
  readonly expiringCount = 0;
  readonly dataBytes = 0;
  readonly allocatedBytes = 0;

  /** Everything in here has a count that is bounded (state.ts); together a few megabytes. */
  memoryRefusal(): string | null {
    return null;
  }

  sessionRefusal(): string | null {
    return null;
  }

  beginSnapshot(): SnapshotSource {
    const frames = imageFrames(this.#image());
    return {
      next: () => frames.next().value ?? null,
      close: () => void frames.return(undefined),
    };
  }

  beginRestore(): SnapshotSink {
    return new ImageReader(({ place, state }) => {
      this.#state = state;
      this.appliedIndex = place.index;
      this.appliedTerm = place.term;
      this.logTimeMs = place.logTimeMs;
      this.revision = place.revision;
    });
  }

  #image(): Image {
    const { appliedIndex: index, appliedTerm: term, logTimeMs, revision } = this;
    return { place: { index, term, logTimeMs, revision }, state: this.#state };
  }
}

function send(reply: Reply, sink: ReplySink): void {
  if (reply.ok) sink.integer(reply.number);
  else sink.error(reply.error);
}
