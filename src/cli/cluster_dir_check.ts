/** A cluster that exists is what its files say; a command line that says otherwise is a mistake. Errors are CliErrors. */
import type { Layout } from "../server/layout.ts";
import type { Member, TreeWish } from "./cluster_dir.ts";
import { EXIT } from "./exit_codes.ts";
import type { FirstWish } from "./local_members.ts";
import { CliError } from "./output.ts";

const GO_ON = "to go on with it, or make another cluster with --dir.";

type Place = { readonly id: string; readonly host: string; readonly port: number };

export function checkFixed(where: string, { nodes }: Layout, wish: TreeWish): void {
  const count = nodes.length;
  if (wish.nodes !== undefined && wish.nodes !== count)
    throw misfit(
      where,
      `--nodes ${wish.nodes}`,
      `has ${count}`,
      `Its layout file says so (${where}/layout.json).`,
    );
  const { control = 0, shards = 1, replicas = count } = wish;
  if (control !== 0)
    throw misfit(where, `--control ${control}`, "has no control plane", "It runs by its layout file.");
  if (shards !== 1)
    throw misfit(where, `--shards ${shards}`, "has one", "More of them need a control plane: --control 1");
  if (replicas !== count)
    throw misfit(
      where,
      `--replicas ${replicas}`,
      `has ${count}`,
      "Without a control plane every node holds the shard.",
    );
  checkPlaces(where, nodes, wish.basePort);
}

export function checkManaged(
  where: string,
  members: readonly Member[],
  first: FirstWish | null,
  wish: TreeWish,
): void {
  const nodes = members.filter(({ kind }) => kind === "node");
  const control = members.length - nodes.length;
  if (wish.nodes !== undefined && wish.nodes < nodes.length)
    throw misfit(
      where,
      `--nodes ${wish.nodes}`,
      `has ${nodes.length}`,
      "To take one out: nucleus node drain",
    );
  if (wish.control !== undefined && wish.control !== control)
    throw misfit(
      where,
      `--control ${wish.control}`,
      `has ${control}`,
      "How many there are is fixed when it is made.",
    );
  if (first !== null) checkFirst(where, first, nodes.length, wish);
  checkPlaces(where, nodes, wish.basePort);
}

function checkFirst(where: string, first: FirstWish, nodes: number, { shards, replicas }: TreeWish): void {
  if (shards !== undefined && shards !== first.shards)
    throw misfit(
      where,
      `--shards ${shards}`,
      `was made with ${first.shards}`,
      "To change that: nucleus shard add, shard remove",
    );
  if (replicas !== undefined && replicas !== first.replicas)
    throw misfit(
      where,
      `--replicas ${replicas}`,
      `was made with ${first.replicas}`,
      "To change that: nucleus node add, node remove",
    );
  if (first.replicas > nodes)
    throw new CliError(
      EXIT.usage,
      `--replicas ${first.replicas} need as many nodes, and there are ${nodes}.`,
      "",
      `Say --nodes ${first.replicas}, or --replicas ${nodes}.`,
    );
}

function checkPlaces(where: string, nodes: readonly Place[], basePort: number | undefined): void {
  const elsewhere = nodes.find(({ host }) => !isLoopback(host));
  if (elsewhere !== undefined) {
    throw new CliError(
      EXIT.usage,
      `The cluster in ${where} is not a local one: ${elsewhere.id} is at ${elsewhere.host}:${elsewhere.port}.`,
      "`up` runs all nodes on this machine.",
      "Run `nucleus node` on each machine instead.",
    );
  }
  if (basePort !== undefined && nodes.some(({ port }, i) => port !== basePort + i + 1)) {
    const ports = nodes.map(({ port }) => port).join(", ");
    throw misfit(where, `--base-port ${basePort}`, "has its own ports", `They are ${ports}.`);
  }
}

function misfit(where: string, option: string, is: string, why: string): CliError {
  const name = option.split(" ", 1)[0];
  const what = `${option} does not fit: the cluster in ${where} ${is}.`;
  return new CliError(EXIT.usage, what, why, `Leave ${name} out ${GO_ON}`);
}

function isLoopback(host: string): boolean {
  return host === "localhost" || host === "::1" || host.startsWith("127.");
}
