/** An operator's word to a node, and its answer: one connection for each, as one types it. */
import { fromUtf8, utf8 } from "../base/bytes.ts";
import type { Connection, Platform } from "../platform/platform.ts";
import { type Reply, ReplyParser } from "../wire/resp_client_parse.ts";
import type { Target } from "./talk.ts";
import type { Process, World } from "./world.ts";

/** Longer than a node waits for the control plane. */
const PATIENCE_US = 5_000_000;

/** Asks once; null: no answer. */
export function askNode(
  world: World,
  process: Process,
  platform: Platform,
  target: Target,
  words: readonly string[],
  done: (reply: Reply | null) => void,
): void {
  const parser = new ReplyParser();
  let isOver = false;
  const end = (reply: Reply | null): void => {
    if (isOver) return;
    isOver = true;
    connection.destroy();
    world.timer(0, process, () => done(reply));
  };
  const connection: Connection = platform.net.dial(target.host, target.port, {
    onOpen: () => {
      const parts = words.map((word) => `$${utf8(word).length}\r\n${word}\r\n`);
      connection.send(utf8(`*${words.length}\r\n${parts.join("")}`));
    },
    onData: (bytes) => {
      parser.feed(bytes);
      const reply = parser.next();
      if (reply === "error") world.fail("protocol", `an operator got malformed bytes from ${target.host}`);
      else if (reply !== "more") end(reply);
    },
    onDrain: () => {},
    onClose: () => end(null),
  });
  world.timer(PATIENCE_US, process, () => end(null));
}

export type Answer = { readonly status: number; readonly text: string };

/** What NUCLEUS CONTROL answers; errors have status 0. */
export function answerOf(reply: Reply | null): Answer | null {
  if (reply === null) return null;
  if (reply.kind === "error") return { status: 0, text: reply.text };
  if (reply.kind !== "array") return null;
  const [status, body] = reply.items;
  if (status?.kind !== "integer" || body?.kind !== "bulk") return null;
  return { status: Number(status.value), text: fromUtf8(body.bytes) };
}
