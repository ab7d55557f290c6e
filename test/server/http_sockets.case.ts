/** HTTP over real loopback sockets: what node:http is asked to bound, and what it hands on. */
import * as net from "node:net";
import t from "tap";
import { fromUtf8, utf8 } from "../../src/base/bytes.ts";
import { createHttp } from "../../src/platform/node_http.ts";
import type { HttpAnswer, HttpListener, HttpRequest, HttpStream } from "../../src/platform/platform.ts";

type Handler = (request: HttpRequest, answer: HttpAnswer) => void;

function listen(handler: Handler): Promise<HttpListener> {
  return new Promise((resolve, reject) => {
    createHttp().listen("127.0.0.1", 0, handler, (error, listener) => {
      if (error === null) resolve(listener);
      else reject(error);
    });
  });
}

/** Sends text as it is and gives all that came back, once `until` matches it or the other side closes. */
function talk(port: number, text: string | Uint8Array, until: RegExp): Promise<string> {
  return new Promise((resolve) => {
    const socket = net.connect(port, "127.0.0.1");
    let heard = "";
    const end = (): void => {
      socket.destroy();
      resolve(heard);
    };
    socket.on("data", (bytes) => {
      heard += bytes.toString("latin1");
      if (until.test(heard)) end();
    });
    socket.on("error", end);
    socket.on("close", end);
    socket.write(text);
  });
}

t.test("requests arrive whole and unchanged, in order, and know their connection", async (t) => {
  const heard: HttpRequest[] = [];
  const listener = await listen((request, answer) => {
    heard.push(request);
    answer.send(200, { etag: '"7"' }, utf8(`<${heard.length}>`));
  });
  const text = await talk(
    listener.port,
    'PUT /kv/a/../b%2Fc//?ttl=1&x=%20 HTTP/1.1\r\nHost: h\r\nIf-Match: "5"\r\nContent-Length: 3\r\n\r\nabc' +
      "HEAD /kv/k HTTP/1.1\r\nHost: h\r\n\r\nGET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n",
    /never/,
  );
  t.same(
    heard.map(({ method, path, query }) => [method, path, query]),
    [
      ["PUT", "/kv/a/../b%2Fc//", "ttl=1&x=%20"],
      ["HEAD", "/kv/k", ""],
      ["GET", "/", ""],
    ],
  );
  t.equal(fromUtf8(heard[0]?.body ?? new Uint8Array(0)), "abc");
  t.equal(heard[0]?.headers["if-match"], '"5"');
  t.equal(heard[0]?.connection, heard[2]?.connection);
  t.match(text, /^HTTP\/1\.1 200 OK\r\n.*etag: "7".*<1>HTTP\/1\.1 200 OK\r\n.*content-length: 3.*<3>$/is);
  t.notMatch(text, "<2>", "the answer to HEAD has no body");
  t.equal(listener.requestsOpen, 0);
  t.equal(listener.bytesHeld, 0);
  await new Promise((resolve) => listener.close(resolve));
});

t.test(
  "J10: heads and bodies above their bounds, and bytes that are no HTTP, are refused with the reason",
  async (t) => {
    let handled = 0;
    const listener = await listen((_request, answer) => {
      handled++;
      answer.send(200, {}, new Uint8Array(0));
    });
    const head = `GET / HTTP/1.1\r\nHost: h\r\nX: ${"x".repeat(200_000)}\r\n\r\n`;
    t.match(await talk(listener.port, head, /\}\n$/), /^HTTP\/1\.1 431 .*too_large/s);
    t.match(await talk(listener.port, "*1\r\n$4\r\nPING\r\n\r\n", /\}\n$/), /^HTTP\/1\.1 400 .*no HTTP/s);
    const declared = `PUT /kv/k HTTP/1.1\r\nHost: h\r\nContent-Length: ${2 ** 31}\r\n\r\n`;
    t.match(await talk(listener.port, declared, /\}\n$/), /^HTTP\/1\.1 413 .*too_large/s);
    const chunk = `10000\r\n${"x".repeat(0x10000)}\r\n`;
    const chunked = `PUT /kv/k HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n${chunk.repeat(20)}`;
    t.match(await talk(listener.port, chunked, /\}\n$/), /^HTTP\/1\.1 413 .*too_large/s);
    t.equal(handled, 0);
    const long = `GET /kv/${"%ff".repeat(16 * 1024)} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n`;
    t.match(await talk(listener.port, long, /never/), /^HTTP\/1\.1 200 /, "the longest key fits");
    await new Promise((resolve) => listener.close(resolve));
  },
);

t.test("a stream tells when its reader is gone, and cuts one that does not read", async (t) => {
  const streams: HttpStream[] = [];
  let closed = 0;
  const listener = await listen((_request, answer) => {
    const stream = answer.stream(200, { "content-type": "text/event-stream" });
    stream.onClose = () => {
      closed++;
    };
    stream.write("data: hello\n\n");
    streams.push(stream);
  });
  const until = async (holds: () => boolean): Promise<void> => {
    while (!holds()) await new Promise((resolve) => setTimeout(resolve, 5));
  };
  const heard = await talk(listener.port, "GET /events HTTP/1.1\r\nHost: h\r\n\r\n", /data: hello\n\n/);
  t.match(heard, /text\/event-stream/);
  await until(() => closed === 1);
  t.notOk(streams[0]?.write("data: late\n\n"));
  const deaf = net.connect(listener.port, "127.0.0.1");
  deaf.on("error", () => {});
  deaf.pause();
  deaf.write("GET /events HTTP/1.1\r\nHost: h\r\n\r\n");
  await until(() => streams.length === 2);
  const part = "x".repeat(64 * 1024);
  let parts = 0;
  while (streams[1]?.write(part) === true && parts < 10_000) parts++;
  t.ok(parts < 1000, `it was cut after ${parts} parts`);
  await until(() => closed === 2);
  deaf.destroy();
  await new Promise((resolve) => listener.close(resolve));
});
