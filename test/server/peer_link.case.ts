/** One connection to another node: what becomes of it when the other side does not read. */
import t from "tap";
import { MiB } from "../../src/base/units.ts";
import type { Platform } from "../../src/platform/platform.ts";
import { PeerLink } from "../../src/server/peer_link.ts";
import { STATE_VERSION } from "../../src/store/types.ts";
import { PeerParser } from "../../src/wire/peer.ts";
import { FakeConnection, random } from "./doubles.ts";

t.test("I1: a peer that speaks and does not read is cut, though what ends rests is never dropped", (t) => {
  const ends: string[] = [];
  const log = { write: (_level: string, _text: string, { reason }: { reason: string }) => ends.push(reason) };
  const self = { cluster: "cd".repeat(16), node: "n2", incarnation: "00".repeat(16) };
  const link = new PeerLink({ id: "n1", host: "n1", port: 1 }, "control", {
    platform: { random, log } as unknown as Platform,
    self,
    held: () => [],
    onFrame() {},
    onUp() {},
    onDown() {},
  });
  const connection = new FakeConnection();
  const versions = { wireVersions: [1, 2], stateVersionMin: 1, stateVersionMax: STATE_VERSION };
  const hello = { ...self, node: "n1", class: "control", held: [], ...versions } as const;
  link.adopt(connection, new PeerParser(), hello);
  connection.reads = false;
  const rows = Array.from({ length: 1000 }, (_, group) => ({
    group,
    message: { kind: "heartbeat", from: 1, to: 2, term: 1, commit: 1, round: 0, rest: 1 } as const,
  }));
  for (let tick = 0; link.isUp; tick++) {
    t.ok(link.queuedBytes < 41 * MiB);
    if (tick > 2000) break;
    link.encoder.heartbeats(rows);
    link.flush();
    link.onData(new Uint8Array(0)); // it says something
    link.tick();
  }
  t.same(ends, ["it does not read"]);
  t.ok(connection.destroyed);
  t.end();
});
