/**
 * What clients and tools send on a new connection, and what the door itself answers: testdata/server/handshakes.txt.
 * `> words` is sent, the lines under it are the reply; a line that begins with `#` opens a connection of its own.
 * UPDATE=1 rewrites the replies.
 */
import { readFileSync, writeFileSync } from "node:fs";
import t from "tap";
import { RespClient } from "../../src/server/resp_client.ts";
import { COMMANDS } from "../../src/wire/command_table.ts";
import { FakeConnection, FakeHost, resp } from "./doubles.ts";

const PATH = "testdata/server/handshakes.txt";

function open(): { connection: FakeConnection; host: FakeHost; client: RespClient } {
  const connection = new FakeConnection();
  const host = new FakeHost();
  const client = new RespClient(7, connection, host);
  connection.events = client;
  return { connection, host, client };
}

/** The script with the replies that the door gives now. */
function played(script: string): string {
  const lines: string[] = [];
  let { connection, host, client } = open();
  for (const line of script.split("\n")) {
    if (line.startsWith("#")) ({ connection, host, client } = open());
    if (!line.startsWith("  ")) lines.push(line);
    if (!line.startsWith("> ")) continue;
    connection.sent.length = 0;
    client.onData(resp(line.slice(2).split(" ")));
    host.turn();
    for (const part of connection.text.split(/\r?\n/).slice(0, -1)) lines.push(`  ${part}`);
    if (connection.closed) lines.push("  (closed)");
  }
  return lines.join("\n");
}

t.test("handshakes of client libraries and tools", (t) => {
  const script = readFileSync(PATH, "utf8");
  const now = played(script);
  if (process.env.UPDATE === "1") writeFileSync(PATH, now);
  else t.equal(now, script);
  t.end();
});

t.test("every command of the table that its door answers has an answer", (t) => {
  for (const { name, op, arity } of COMMANDS) {
    if (op !== null) continue;
    const { connection, host, client } = open();
    client.onData(resp([name, ...Array.from({ length: Math.abs(arity) - 1 }, () => "0")]));
    host.turn();
    t.notMatch(connection.text, /unknown command/, name);
    t.ok(connection.text.length > 0, name);
  }
  t.end();
});
