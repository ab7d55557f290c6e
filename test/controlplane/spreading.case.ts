/** Leaders, where operators want them and where the control plane does. */
import t from "tap";
import xxhash from "xxhash-wasm";
import { MoveTown } from "../server/town.ts";

const { h64 } = await xxhash();
const NODES = ["n1", "n2", "n3"];

t.test("an order to lead stands for a minute, although the node then leads most shards", async (t) => {
  const shards = { s1: NODES, s2: NODES, s3: NODES, s4: NODES };
  const town = MoveTown.started(h64, { seed: 48, shards, nodes: 3 });
  const leaderOf = (id: string): string => town.leading(id)?.node.id ?? "";
  const ledBy = (node: string): number => Object.keys(shards).filter((id) => leaderOf(id) === node).length;
  const [to = ""] = NODES.toSorted((a, b) => ledBy(a) - ledBy(b));
  const elsewhere = Object.keys(shards).filter((id) => town.leaderOf(id).node.id !== to);
  t.ok(elsewhere.length >= 3);
  for (const id of elsewhere) {
    const asked = town.client(town.leaderOf(id).node.id);
    t.same(town.call(asked, ["NUCLEUS", "LEADER", to, id]), ["OK"]);
    town.until(`${to} leads ${id}`, () => leaderOf(id) === to);
  }
  town.run(30_000);
  t.same(new Set(elsewhere.map(leaderOf)), new Set([to]));
  town.until("then they are spread", () => elsewhere.some((id) => leaderOf(id) !== to), 60_000);
});
