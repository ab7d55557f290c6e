/**
 * What a client's connection sends: replies collect in one buffer and leave by one write a turn. The buffer given
 * to the network belongs to it until `queuedBytes` is 0, so two buffers take turns, and a slow reader gets new
 * ones up to a cap.
 */
import { Writer } from "../base/bytes.ts";
import { KiB } from "../base/units.ts";
import type { Connection } from "../platform/platform.ts";

const CAPACITY = 16 * KiB;
/** A buffer that grew beyond this is not kept. */
const CAPACITY_KEPT_MAX = 256 * KiB;

export class Output {
  writer = new Writer(CAPACITY);
  #spare: Writer | null = null;
  #sent: Writer | null = null;
  readonly #connection: Connection;

  constructor(connection: Connection) {
    this.#connection = connection;
  }

  get isEmpty(): boolean {
    return this.writer.length === 0;
  }

  /** Bytes that were answered and have not left. */
  get queuedBytes(): number {
    return this.writer.length + this.#connection.queuedBytes();
  }

  flush(): void {
    const { writer } = this;
    if (writer.length === 0) return;
    if (this.#sent !== null && this.#connection.queuedBytes() === 0) this.#recycle(this.#sent);
    this.#connection.send(writer.view());
    if (this.#connection.queuedBytes() === 0) {
      this.#recycle(writer); // the kernel has it all: the same buffer again
      this.writer = this.#takeSpare();
    } else {
      this.#sent = writer; // an older one that is still queued is left to the collector
      this.writer = this.#takeSpare();
    }
  }

  #recycle(writer: Writer): void {
    if (this.#sent === writer) this.#sent = null;
    if (writer.bytes.length > CAPACITY_KEPT_MAX) return;
    writer.clear();
    this.#spare = writer;
  }

  #takeSpare(): Writer {
    const spare = this.#spare ?? new Writer(CAPACITY);
    this.#spare = null;
    return spare;
  }
}
