/** node:http as HttpServe asks for it, on each runtime: what arrives unchanged, in order, and what is bounded. */
import * as net from "node:net";
import { utf8 } from "../../src/base/bytes.ts";
import { createHttp } from "../../src/platform/node_http.ts";
import type { HttpListener, HttpRequest, HttpStream } from "../../src/platform/platform.ts";
import { end, ok } from "./tap.ts";

const heard: HttpRequest[] = [];
let stream: HttpStream | null = null;
let closed = 0;

const listener = await new Promise<HttpListener>((resolve, reject) => {
  createHttp().listen(
    "127.0.0.1",
    0,
    (request, answer) => {
      heard.push(request);
      if (request.path !== "/events") return answer.send(200, { etag: '"7"' }, utf8(`<${heard.length}>`));
      stream = answer.stream(200, { "content-type": "text/event-stream" });
      stream.onClose = () => {
        closed++;
      };
      stream.write("data: hello\n\n");
    },
    (error, value) => (error === null ? resolve(value) : reject(error)),
  );
});

/** Sends text as it is; gives what came back once it matches, or when the other side closes. */
function talk(text: string, until = /never/): Promise<string> {
  return new Promise((resolve) => {
    const socket = net.connect(listener.port, "127.0.0.1");
    let answer = "";
    const finish = (): void => {
      socket.destroy();
      resolve(answer);
    };
    socket.on("data", (bytes) => {
      answer += bytes.toString("latin1");
      if (until.test(answer)) finish();
    });
    socket.on("error", finish);
    socket.on("close", finish);
    socket.write(text);
  });
}

async function holds(test: () => boolean): Promise<boolean> {
  for (let i = 0; i < 1000 && !test(); i++) await new Promise((done) => setTimeout(done, 5));
  return test();
}

const head = "HTTP/1.1\r\nHost: h\r\n";
const three = await talk(
  `PUT /kv/a/../b%2Fc//?x=%20 ${head}If-Match: "5"\r\nContent-Length: 3\r\n\r\nabc` +
    `HEAD /kv/%ff ${head}\r\nGET / ${head}Connection: close\r\n\r\n`,
);
ok(
  heard.map(({ method, path, query }) => `${method} ${path} ${query}`).join() ===
    "PUT /kv/a/../b%2Fc// x=%20,HEAD /kv/%ff ,GET / ",
  "paths and queries arrive as they were sent, and in order",
  heard.map(({ path }) => path).join(" "),
);
ok(heard[0]?.body.join() === utf8("abc").join(), "so does a body");
ok(heard[0]?.headers["if-match"] === '"5"', "header names are in small letters");
ok(heard[0]?.connection === heard[2]?.connection, "requests of one connection know it");
ok(
  /<1>HTTP.*content-length: 3.*<3>$/is.test(three) && !three.includes("<2>"),
  "HEAD is answered without a body",
);
ok(await holds(() => listener.requestsOpen === 0 && listener.bytesHeld === 0), "nothing is held afterwards");

const before = heard.length;
const refused = async (text: string): Promise<string> => (await talk(text, /\}\n$/)).slice(9, 12);
ok((await refused(`GET / ${head}X: ${"x".repeat(200_000)}\r\n\r\n`)) === "431", "a head has a bound");
ok((await refused(`PUT /k ${head}Content-Length: ${2 ** 31}\r\n\r\n`)) === "413", "a body has one");
const chunk = `10000\r\n${"x".repeat(0x10000)}\r\n`;
ok(
  (await refused(`PUT /k ${head}Transfer-Encoding: chunked\r\n\r\n${chunk.repeat(20)}`)) === "413",
  "also one that does not say how long it is",
);
ok((await refused("*1\r\n$4\r\nPING\r\n\r\n")) === "400", "other protocols are told so");
ok(heard.length === before, "none of them was heard");

ok(
  (await talk(`GET /events ${head}\r\n`, /data: hello\n\n/)).includes("text/event-stream"),
  "a stream begins",
);
ok(await holds(() => closed === 1), "it tells when its reader is gone");
const deaf = net.connect(listener.port, "127.0.0.1");
deaf.on("error", () => {});
deaf.pause();
stream = null;
deaf.write(`GET /events ${head}\r\n`);
await holds(() => stream !== null);
const part = "x".repeat(64 * 1024);
let parts = 0;
for (; parts < 1000; parts++) {
  if ((stream as HttpStream | null)?.write(part) !== true) break;
  if (parts % 16 === 0) await new Promise((done) => setTimeout(done, 1)); // some runtimes count what the kernel took only then
}
ok(parts < 1000, "a reader that does not read is cut", `${parts} parts`);
ok(await holds(() => closed === 2), "and its stream tells");
deaf.destroy();
let isClosed = false;
listener.close(() => {
  isClosed = true;
});
ok(await holds(() => isClosed), "it closes");
end();
process.exit();
