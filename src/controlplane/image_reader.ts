/** Builds a state from its image (image.ts), beside the one in use; nothing of it counts before all of it is right. */
import { concat } from "../base/bytes.ts";
import { Assignment } from "../ring/assignment.ts";
import type { SnapshotSink } from "../store/types.ts";
import {
  FRAME_ORDER,
  type Frame,
  type FrameOf,
  frameSize,
  IMAGE_VERSION,
  type Image,
  readFrame,
  StateHash,
} from "./image.ts";
import type {
  FinishedMove,
  MetaState,
  NodeRecord,
  PlannedMove,
  Reply,
  Restoring,
  ShardRecord,
} from "./state.ts";

export class ImageReader implements SnapshotSink {
  readonly #install: (image: Image) => void;
  readonly #hash = new StateHash();
  readonly #nodes = new Map<string, NodeRecord>();
  readonly #shards = new Map<string, ShardRecord>();
  readonly #assignment = new Assignment();
  readonly #moves: PlannedMove[] = [];
  readonly #finished: FinishedMove[] = [];
  readonly #requests = new Map<string, Reply>();
  #restoring: Restoring | null = null;
  #place: FrameOf<"place"> | null = null;
  #head: FrameOf<"head"> | null = null;
  #ended = false;
  #reached = 0;
  /** Bytes of a frame that is not whole yet. */
  #rest = new Uint8Array(0);
  #problem: string | null = null;

  constructor(install: (image: Image) => void) {
    this.#install = install;
  }

  write(chunk: Uint8Array): string | null {
    if (this.#problem !== null) return this.#problem;
    const bytes = concat([this.#rest, chunk]);
    let at = 0;
    for (;;) {
      const size = frameSize(bytes, at);
      if (size === 0) break;
      this.#problem = size < 0 ? "a frame is too large" : this.#take(bytes, at);
      if (this.#problem !== null) return this.#problem;
      at += size;
    }
    this.#rest = bytes.slice(at);
    return null;
  }

  check(): string | null {
    if (this.#problem !== null) return this.#problem;
    if (!this.#ended || this.#rest.length > 0) return "the image is not whole";
    return this.#head?.plan === null && this.#moves.length > 0 ? "moves without a plan" : null;
  }

  finish(): string | null {
    const problem = this.check();
    if (problem !== null || this.#place === null || this.#head === null)
      return problem ?? "the image is not whole";
    const { index, term, logTimeMs, revision } = this.#place;
    this.#install({ place: { index, term, logTimeMs, revision }, state: this.#state(this.#head) });
    return null;
  }

  #take(bytes: Uint8Array, at: number): string | null {
    const read = readFrame(bytes, at);
    if (typeof read === "string") return read;
    const { frame, payload } = read;
    const problem = this.#order(frame);
    if (problem !== null) return problem;
    if (frame.kind !== "place" && frame.kind !== "end") this.#hash.add(payload);
    return this.#keep(frame);
  }

  #order({ kind }: Frame): string | null {
    const place = FRAME_ORDER.indexOf(kind);
    const isOnce = kind === "place" || kind === "head" || kind === "end";
    const isNext = isOnce ? place === this.#reached || kind === "end" : place >= this.#reached;
    if (this.#ended || !isNext || (place > 0 && this.#place === null) || (place > 1 && this.#head === null))
      return `a frame of ${kind} in the wrong place`;
    this.#reached = isOnce ? place + 1 : place;
    return null;
  }

  #keep(frame: Frame): string | null {
    switch (frame.kind) {
      case "place":
        this.#place = frame;
        return frame.version === IMAGE_VERSION
          ? null
          : `image version ${frame.version} is not known, this program knows ${IMAGE_VERSION}`;
      case "head":
        this.#head = frame;
        return null;
      case "nodes":
        for (const node of frame.items) this.#nodes.set(node.id, node);
        return null;
      case "shards":
        for (const shard of frame.items) this.#shards.set(shard.id, shard);
        return null;
      case "claims":
        for (const { shard, epoch, slots } of frame.items) this.#assignment.claim(slots, shard, epoch);
        return null;
      case "moves":
        this.#moves.push(...frame.items);
        return null;
      case "finished":
        this.#finished.push(...frame.items);
        return null;
      case "requests":
        for (const { request, ok, number, error } of frame.items)
          this.#requests.set(request, ok ? { ok, number } : { ok, error });
        return null;
      case "restoring":
        for (const { token, bytes } of frame.items) {
          // Decoded bytes are borrowed from the chunk.
          const parts: readonly Uint8Array[] = [...(this.#restoring?.parts ?? []), bytes.slice()];
          this.#restoring = { token, parts };
        }
        return null;
      case "end":
        this.#ended = true;
        return frame.hash === this.#hash.hex ? null : "the image's hash does not fit its frames";
    }
  }

  #state(head: FrameOf<"head">): MetaState {
    const { kind: _, plan, ...rest } = head;
    return {
      ...rest,
      nodes: this.#nodes,
      shards: this.#shards,
      assignment: this.#assignment,
      plan: plan === null ? null : { ...plan, moves: this.#moves },
      finished: this.#finished,
      requests: this.#requests,
      restoring: this.#restoring,
    };
  }
}
