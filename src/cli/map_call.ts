/**
 * The map that a node routes by (wire/cluster_map.ts), asked for over the native protocol. It names every node and shard
 * and says who serves which slots, at which epoch, whether or not anybody of them can be reached.
 */
import { connect } from "node:net";
import { Writer } from "../base/bytes.ts";
import { type ClusterMap, clusterMap, mapProblem } from "../wire/cluster_map.ts";
import { decodeShape, ShapeError } from "../wire/msgpack.ts";
import { NativeFrame, nativeParser, OPCODE, writeNative } from "../wire/native.ts";
import { preamble } from "../wire/preamble.ts";
import type { Address } from "./address.ts";

/** It is in the node's memory. */
const ANSWER_MS_MAX = 1000;
const REQUEST_ID = 1;

/** Null: it has none, knows of none, or does not answer. */
export function fetchMap({ host, port }: Address, timeoutMs = ANSWER_MS_MAX): Promise<ClusterMap | null> {
  return new Promise((resolve) => {
    const socket = connect({ host, port, noDelay: true });
    const parser = nativeParser("server");
    const end = (map: ClusterMap | null): void => {
      clearTimeout(timer);
      socket.destroy();
      resolve(map);
    };
    const timer = setTimeout(() => end(null), timeoutMs);
    socket.on("error", () => end(null));
    socket.on("close", () => end(null));
    socket.on("connect", () => {
      const writer = new Writer(64);
      writer.raw(preamble("client"));
      writeNative(writer, OPCODE.map, REQUEST_ID, new Uint8Array(0));
      socket.write(writer.view());
    });
    socket.on("data", (chunk) => {
      parser.feed(chunk);
      const frame = new NativeFrame();
      let next = parser.next();
      while (next === "frame") {
        if (frame.read(parser.bytes, parser.start, parser.end) !== null) return end(null);
        if (frame.opcode === OPCODE.mapReply) return end(readMap(frame.body()));
        next = parser.next();
      }
      if (next !== "more") end(null);
    });
  });
}

function readMap(body: Uint8Array): ClusterMap | null {
  const map = decodeShape(clusterMap, body, "the map");
  return map instanceof ShapeError || mapProblem(map) !== null ? null : map;
}
