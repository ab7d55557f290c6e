/** The command line's connection against servers that answer, cut replies in pieces, hang, or go away. */
import type { Socket } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import t from "tap";
import { askControl } from "../../src/cli/control_call.ts";
import { exitCodeOf } from "../../src/cli/exit_codes.ts";
import { failedCallText, Session } from "../../src/cli/repl_session.ts";
import { RespConnection } from "../../src/cli/resp_connection.ts";
import { serve } from "./server.ts";
import { report } from "./views.ts";

const HELLO = "%1\r\n$5\r\nproto\r\n:3\r\n";
const host = "127.0.0.1";

t.test("calls are pipelined and their replies keep the order, however they are cut", async (t) => {
  const server = await serve((words, socket) => {
    if (words[0] === "HELLO") return void socket.write(HELLO);
    const reply = `$${words[1]?.length}\r\n${words[1]}\r\n`;
    for (const letter of reply) socket.write(letter);
  });
  const connection = await RespConnection.open({ host, port: server.port });
  const replies = await Promise.all(
    Array.from({ length: 50 }, (_, i) => connection.call(["ECHO", `word ${i}`])),
  );
  for (const [i, reply] of replies.entries()) {
    t.equal(reply.kind === "bulk" && Buffer.from(reply.bytes).toString(), `word ${i}`);
  }
  t.equal(connection.outstanding, 0);
  connection.close();
  await t.rejects(connection.call(["PING"]), { code: "ECLOSED" });
  await server.close();
});

t.test("a server that knows no HELLO is fine; pushes that nobody asked for are passed over", async (t) => {
  const server = await serve((words, socket) => {
    socket.write(words[0] === "HELLO" ? "-ERR unknown command 'HELLO'\r\n" : ">1\r\n+news\r\n+PONG\r\n");
  });
  const connection = await RespConnection.open({ host, port: server.port });
  t.same(await connection.call(["PING"]), { kind: "simple", text: "PONG" });
  connection.close();
  await server.close();
});

t.test("nobody there, a hang, a cut: each is told apart, and by its exit code", async (t) => {
  const gone = await serve(() => {});
  await gone.close();
  await t.rejects(RespConnection.open({ host, port: gone.port }), {
    code: "ECONNECT",
    message: `cannot connect to 127.0.0.1:${gone.port}: nothing listens there`,
  });
  const server = await serve((words, socket) => {
    if (words[0] === "HELLO") socket.write(HELLO);
    if (words[0] === "CUT") socket.destroy();
    if (words[0] === "NOISE") socket.write("what?\r\n");
    if (words[0] === "TWICE") socket.write(":1\r\n:2\r\n");
  });
  const open = (): Promise<RespConnection> => RespConnection.open({ host, port: server.port });
  const hung = await open();
  await t.rejects(hung.call(["HANG"], 50), { code: "ETIMEOUT", message: /no reply within 50 ms/ });
  t.ok(hung.closed, "what comes later could not be told apart");
  await t.rejects((await open()).call(["CUT"]), { code: "ECLOSED" });
  await t.rejects((await open()).call(["NOISE"]), { code: "ECLOSED", message: /not a RESP reply/ });
  const talkative = await open();
  let lost = "";
  talkative.onLost = (reason) => {
    lost = reason;
  };
  t.same(await talkative.call(["TWICE"]), { kind: "integer", value: 1n });
  for (let i = 0; lost === "" && i < 100; i++) await sleep(10);
  t.match(lost, "nobody asked for");
  const codes = ["ECONNECT", "ECLOSED", "ETIMEOUT", "EOTHER"].map((code) => exitCodeOf({ code }));
  t.same(codes, [4, 5, 5, 1]);
  await server.close();
});

/** Two nodes of one cluster: the first dies of the first command it gets, the second answers OK. */
async function mortalPair(seen: string[]): Promise<{ session: Session; close(): Promise<void> }> {
  const ports: number[] = [];
  const answer = (words: readonly string[], socket: Socket): boolean => {
    if (words[0] === "HELLO") return socket.write(HELLO);
    if (words[0] !== "NUCLEUS") return false;
    const nodes = ports.map((port, i) => ({ id: `n${i + 1}`, addr: `${host}:${port}` }));
    const text = JSON.stringify({ ...report("n1", {}), nodes });
    return socket.write(`$${text.length}\r\n${text}\r\n`);
  };
  const first = await serve((words, socket) => {
    if (answer(words, socket)) return;
    seen.push(`first ${words[0]}`);
    void first.close();
  });
  const second = await serve((words, socket) => {
    if (answer(words, socket)) return;
    seen.push(`second ${words[0]}`);
    socket.write("+OK\r\n");
  });
  ports.push(first.port, second.port);
  const session = new Session({ host, port: first.port });
  session.onMoved = () => seen.push("moved");
  await session.learn();
  return {
    session,
    close: () => {
      session.close();
      return second.close();
    },
  };
}

t.test("when its node dies a session repeats a read on another node", async (t) => {
  const seen: string[] = [];
  const { session, close } = await mortalPair(seen);
  t.same(await session.call(["GET", "k"]), { kind: "simple", text: "OK" });
  t.same(seen, ["first GET", "moved", "second GET"]);
  t.ok(session.connected);
  await close();
});

t.test("when its node dies a session does not repeat a write; the next call goes on elsewhere", async (t) => {
  const seen: string[] = [];
  const { session, close } = await mortalPair(seen);
  await t.rejects(session.call(["SET", "k", "v"]), { code: "ECLOSED" });
  t.same(seen, ["first SET"]);
  t.match(failedCallText({ code: "ECLOSED" }, ["SET"]), "whether the command was carried out is not known");
  t.notMatch(failedCallText({ code: "ECONNECT" }, ["SET"]), "not known");
  t.same(await session.call(["SET", "k", "v"]), { kind: "simple", text: "OK" });
  t.same(seen, ["first SET", "moved", "second SET"]);
  await close();
});

t.test("a node that lets go of whoever comes too early is asked again", async (t) => {
  let early = 2;
  const server = await serve((words, socket) => {
    if (early-- > 0) return void socket.destroy();
    socket.write(words[0] === "HELLO" ? HELLO : '*2\r\n:200\r\n$11\r\n{"ok":true}\r\n');
  });
  const fields = await askControl({ host, port: server.port }, { method: "GET", path: "/health" });
  t.equal(fields.flag("ok"), true);
  await server.close();
});
