/** A MetaStore as its group drives it: sealed batches in, replies out. */
import { Writer } from "../../src/base/bytes.ts";
import {
  type Body,
  type ControlCommand,
  metaBootstrap,
  writeCommand,
} from "../../src/controlplane/commands.ts";
import { MetaStore } from "../../src/controlplane/meta_store.ts";
import { type MetaState, SETTINGS_DEFAULT } from "../../src/controlplane/state.ts";
import { encodeConfig } from "../../src/raft/config.ts";
import { ENTRY_KIND, type EntryKind } from "../../src/raft/types.ts";
import type { ApplyListener } from "../../src/store/types.ts";
import { STATE_VERSION } from "../../src/store/types.ts";
import { BATCH_HEADER_BYTES, COMMAND_ENCODING, sealBatch } from "../../src/wire/batch.ts";
import { CommandEncoder } from "../../src/wire/command_encode.ts";
import { encodeShape } from "../../src/wire/msgpack.ts";
import type { ReplySink } from "../../src/wire/reply.ts";

export const CLUSTER = "c".repeat(32);

/** 32 hex digits that begin with what they are for. */
export function id(prefix: string): string {
  return [...prefix]
    .map((letter) => letter.charCodeAt(0).toString(16))
    .join("")
    .padEnd(32, "0")
    .slice(0, 32);
}

export class Replies implements ApplyListener {
  readonly texts: string[] = [];
  blobs: Uint8Array[] = [];

  begin(): ReplySink {
    const put = (text: string): void => void this.texts.push(text);
    return {
      nil: () => put("nil"),
      simple: put,
      error: put,
      integer: (value) => put(`ok ${value}`),
      blob: (bytes, start, end) => {
        this.blobs.push(bytes.slice(start, end));
        put(`${end - start} bytes`);
      },
      array: (count) => put(`array ${count}`),
      map: (count) => put(`map ${count}`),
    };
  }

  end(): void {}

  notServed(): void {}
}

export function seal(index: number, kind: EntryKind, count: number, body: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(BATCH_HEADER_BYTES + body.length);
  bytes.set(body, BATCH_HEADER_BYTES);
  const where = { group: 7, term: 1, index, timeMs: 1000 * index };
  const what = { count, kind, encoding: COMMAND_ENCODING, stateVersion: STATE_VERSION };
  sealBatch(bytes, 0, { bodySize: body.length, ...where, ...what });
  return bytes;
}

export function bootstrap(): Uint8Array {
  const body = new Writer();
  const voters = [{ replica: 1, node: "c1" }];
  body.raw(encodeConfig({ version: 1, voters, outgoing: [], learners: [], nextReplica: 2 }));
  body.raw(encodeShape(metaBootstrap, { cluster: CLUSTER, settings: SETTINGS_DEFAULT }));
  return seal(1, ENTRY_KIND.bootstrap, 0, body.copy());
}

export function batchOf(index: number, commands: readonly ControlCommand[]): Uint8Array {
  const writer = new Writer();
  const encoder = new CommandEncoder(writer);
  for (const command of commands) writeCommand(encoder, command);
  return seal(index, ENTRY_KIND.commands, commands.length, writer.copy());
}

export class Driver {
  readonly store = new MetaStore();

  constructor() {
    this.store.apply(1, 0, bootstrap(), new Replies());
  }

  get state(): MetaState {
    return this.store.state;
  }

  run(body: Body, request: string | null = null): string {
    return this.batch([{ request, body }])[0] as string;
  }

  batch(commands: readonly ControlCommand[]): string[] {
    const index = this.store.appliedIndex + 1;
    return this.apply(batchOf(index, commands));
  }

  apply(batch: Uint8Array): string[] {
    const replies = new Replies();
    this.store.apply(this.store.appliedIndex + 1, 1, batch, replies);
    return replies.texts;
  }
}

export function imageOf(store: MetaStore): Uint8Array[] {
  const source = store.beginSnapshot();
  const chunks: Uint8Array[] = [];
  for (let chunk = source.next(); chunk !== null; chunk = source.next()) chunks.push(chunk.slice());
  source.close();
  return chunks;
}

/** Null: the image was taken. */
export function restoreInto(store: MetaStore, chunks: readonly Uint8Array[]): string | null {
  const sink = store.beginRestore();
  for (const chunk of chunks) {
    const problem = sink.write(chunk);
    if (problem !== null) return problem;
  }
  return sink.check() ?? sink.finish();
}
