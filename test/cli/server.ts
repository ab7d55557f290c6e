/** A TCP server on a free port of this machine that answers by a function, for tests of what reads its answers. */
import { type AddressInfo, createServer, type Socket } from "node:net";
import { argText } from "../../src/wire/args.ts";
import { RespParser } from "../../src/wire/resp_parse.ts";

export type TestServer = { readonly port: number; close(): Promise<void> };

/** `onCommand` gets each command's words. */
export async function serve(onCommand: (words: string[], socket: Socket) => void): Promise<TestServer> {
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket);
    const parser = new RespParser();
    socket.on("error", () => {});
    socket.on("data", (chunk) => {
      parser.feed(chunk);
      while (parser.next() === "command") {
        onCommand(
          Array.from({ length: parser.argCount }, (_, i) => argText(parser, i)),
          socket,
        );
      }
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    port: (server.address() as AddressInfo).port,
    close: () => {
      for (const socket of sockets) socket.destroy();
      return new Promise((resolve) => server.close(() => resolve()));
    },
  };
}
