/**
 * A cluster whose machines are killed, lose power or their disks, are cut off and replaced, all drawn from one seed,
 * while clients write. No majority ever loses its disks at once: so at the end all that was acknowledged is there.
 */
import { crc32 } from "../../src/base/checksum.ts";
import type { Prng } from "../../src/base/prng.ts";
import { type Task, wait } from "../../src/base/task.ts";
import type { Disk } from "../../src/platform/platform.ts";
import type { GroupConfig } from "../../src/raft/types.ts";
import type { SimClient } from "./client.ts";
import { Cluster } from "./cluster.ts";

const STEP_MS = 400;
const POLL_MS = 50;
const CONVERGE_MS = 60_000;

type Ask = { readonly kind: "add" | "set"; readonly key: string };

function* removeLog(disk: Disk, dir: string): Task<void> {
  const names = yield* wait<string[]>((done) => disk.list(dir.slice(0, -4), done));
  if (!names.includes("wal")) return;
  for (const name of yield* wait<string[]>((done) => disk.list(dir, done)))
    yield* wait<void>((done) => disk.unlink(`${dir}/${name}`, done));
}

/** One client with one question at a time. */
class Writer {
  readonly soak: MembershipSoak;
  #client: SimClient | null = null;
  #ask: Ask | null = null;
  #askedMs = 0;

  constructor(soak: MembershipSoak) {
    this.soak = soak;
  }

  poll(nowMs: number): void {
    const client = this.#client;
    if (client === null || this.#ask === null) return this.#next(nowMs);
    const [reply] = client.replies.splice(0);
    const isLost = client.closed || nowMs - this.#askedMs > 8000;
    if (reply === undefined && !isLost) return;
    this.soak.learned(this.#ask, reply ?? "lost");
    this.#ask = null;
    if (reply === undefined || this.soak.random.below(8) === 0) {
      client.close();
      this.#client = null;
    }
    this.#next(nowMs);
  }

  #next(nowMs: number): void {
    this.#client ??= this.soak.cluster.client(this.soak.random.below(this.soak.cluster.nodes.length));
    const ask = this.soak.ask();
    this.#ask = ask;
    this.#askedMs = nowMs;
    if (ask.kind === "add") this.#client.send("INCR", ask.key);
    else this.#client.send("SET", ask.key, `value of ${ask.key}`);
  }

  /** What is open stays unknown. */
  end(): void {
    if (this.#ask !== null) this.soak.learned(this.#ask, "lost");
    this.#client?.close();
  }
}

export class MembershipSoak {
  readonly cluster: Cluster;
  readonly random: Prng;
  /** How often each thing happened. */
  readonly counts: Record<string, number> = {};
  readonly members: number;
  readonly #writers: Writer[] = [];
  /** Highest index applied anywhere first said what stands there. */
  readonly #applied = new Map<number, string>();
  readonly #leaders = new Map<number, number>();
  /** Whose directory an id lives in: node and how often that was emptied. */
  readonly #owners = new Map<number, string>();
  readonly #wipes: number[];
  /** Nodes that lost a disk since the group was last whole. */
  readonly #lost = new Set<number>();
  readonly #restartAt = new Map<number, number>();
  readonly #cut = new Set<number>();
  #names = 0;
  #added = 0;
  #addedPerhaps = 0;
  readonly #written: string[] = [];
  readonly #refused: string[] = [];

  constructor(seed: number) {
    const members = seed % 3 === 0 ? 5 : 3;
    const spare = seed % 2 === 0 ? 1 : 0;
    this.members = members;
    this.cluster = new Cluster({ nodes: members + spare, seed });
    this.random = this.cluster.world.stream("soak");
    this.#wipes = this.cluster.nodes.map(() => 0);
    this.#watch();
    const all = this.cluster.layout;
    this.cluster.layout = { ...all, nodes: all.nodes.slice(0, members) };
    for (let i = 0; i < members; i++) this.cluster.start(i, true);
    this.cluster.until("a leader", () => this.cluster.nodes.some((node) => node.isLeader));
    this.cluster.run(300);
    if (spare > 0) {
      for (let i = 0; i < members; i++) this.cluster.kill(i);
      this.cluster.layout = all;
      for (let i = 0; i < members + spare; i++) this.cluster.start(i);
    }
    for (let i = 0; i < 3; i++) this.#writers.push(new Writer(this));
  }

  #count(what: string): void {
    this.counts[what] = (this.counts[what] ?? 0) + 1;
  }

  #watch(): void {
    this.cluster.observer = {
      onLeader: (group) => {
        const { term, role } = group.core;
        if (role !== "leader") return;
        const known = this.#leaders.get(term);
        if (known !== undefined && known !== group.replica)
          throw new Error(`term ${term} has leaders ${known} and ${group.replica}`);
        this.#leaders.set(term, group.replica);
      },
      onApplied: (_group, { index, term, bytes }) => {
        const what = `${term} ${crc32(bytes)}`;
        const known = this.#applied.get(index);
        if (known !== undefined && known !== what)
          throw new Error(`index ${index} was applied as ${known} and as ${what}`);
        this.#applied.set(index, what);
      },
    };
  }

  // ------------------------------------------------------------------------------------------- the workload

  ask(): Ask {
    if (this.random.below(2) === 0) return { kind: "add", key: "counter" };
    return { kind: "set", key: `k${this.#names++}` };
  }

  learned({ kind, key }: Ask, reply: string): void {
    const isUnknown = reply === "lost" || /UNCERTAIN|UNKNOWN/i.test(reply);
    const isDone = !isUnknown && !reply.startsWith("-");
    this.#count(isDone ? "acknowledged" : isUnknown ? "of unknown fate" : "refused");
    if (kind === "add" && isDone) this.#added++;
    else if (kind === "add" && isUnknown) this.#addedPerhaps++;
    else if (kind === "set" && isDone) this.#written.push(key);
    else if (kind === "set" && !isUnknown) this.#refused.push(key);
  }

  // ------------------------------------------------------------------------------------------- the faults

  run(steps: number): void {
    for (let step = 0; step < steps; step++) {
      this.#fault();
      this.#pass(this.random.below(2 * STEP_MS));
    }
    this.#heal();
  }

  #pass(ms: number): void {
    for (let passed = 0; passed < ms; passed += POLL_MS) {
      this.cluster.run(POLL_MS);
      this.#restart();
      this.#noteOwners();
      for (const writer of this.#writers) writer.poll(this.#nowMs);
    }
  }

  get #nowMs(): number {
    return this.cluster.world.nowUs / 1000;
  }

  #fault(): void {
    const { cluster, random } = this;
    const i = random.below(cluster.nodes.length);
    cluster.world.run(cluster.world.nowUs + random.below(POLL_MS * 1000)); // any moment, not only those of a poll
    if (this.#isWhole()) this.#lost.clear();
    switch (random.below(9)) {
      case 0:
        return this.#stop("kill", i);
      case 1:
        return this.#stop("power", i);
      case 2:
      case 3:
        return this.#wipe(i);
      case 4:
        return this.#loseLog(i);
      case 5:
        cluster.node(i).machine.pause(random.below(3_000_000));
        return this.#count("paused");
      case 6:
        for (const { server } of cluster.nodes) {
          if (server?.groups[0]?.snapshots.take() === true) this.#count("snapshot");
        }
        return;
      case 7:
        if (this.#cut.size > 0) return this.#mend();
        cluster.isolate(i);
        this.#cut.add(i);
        return this.#count("cut off");
      default:
        return this.#replace(i);
    }
  }

  #stop(how: "kill" | "power", i: number): void {
    if (this.#restartAt.has(i)) return;
    this.cluster[how](i);
    this.#restartAt.set(i, this.#nowMs + this.random.below(1500));
    this.#count(how);
  }

  /** False: it would be one too many. */
  #loses(i: number): boolean {
    const most = Math.floor((this.members - 1) / 2);
    if (!this.#lost.has(i) && this.#lost.size >= most) return false;
    this.#lost.add(i);
    return true;
  }

  /** The directory knows who it is, and nothing of what it promised. */
  #loseLog(i: number): void {
    if (!this.#loses(i)) return;
    this.cluster.kill(i);
    this.cluster.onDisk(i, (disk) => removeLog(disk, `/n${i + 1}/wal`));
    (this.#wipes[i] as number)++;
    this.#restartAt.set(i, this.#nowMs + this.random.below(1500));
    this.#count("log lost");
  }

  #wipe(i: number): void {
    if (!this.#loses(i)) return;
    if (this.random.below(2) === 0) this.cluster.kill(i);
    else this.cluster.power(i);
    this.cluster.wipe(i);
    (this.#wipes[i] as number)++;
    this.#restartAt.set(i, this.#nowMs + this.random.below(1500));
    this.#count("wiped");
  }

  #replace(i: number): void {
    const { cluster, random } = this;
    const leader = cluster.nodes.find((node) => node.isLeader);
    if (leader === undefined || cluster.nodes.length === this.members) return;
    const config = leader.group.core.config;
    const spare = cluster.nodes.find(({ id }) => !config.voters.some(({ node }) => node === id));
    const old = config.voters[random.below(config.voters.length)]?.node;
    if (spare === undefined || old === undefined || i < 0) return;
    const client = cluster.client(cluster.nodes.indexOf(leader));
    client.send("NUCLEUS", "REPLACE", old, spare.id);
    this.#pass(100);
    if (client.replies[0] === "OK") this.#count("replace asked");
    client.close();
  }

  #restart(): void {
    for (const [i, atMs] of this.#restartAt) {
      if (atMs > this.#nowMs) continue;
      this.#restartAt.delete(i);
      this.cluster.start(i);
    }
  }

  #mend(): void {
    for (const i of this.#cut) this.cluster.isolate(i, false);
    this.#cut.clear();
  }

  #noteOwners(): void {
    for (const [i, { server, id }] of this.cluster.nodes.entries()) {
      const replica = server?.groups[0]?.replica;
      if (replica === undefined) continue;
      const owner = `${id}, directory ${this.#wipes[i]}`;
      const known = this.#owners.get(replica);
      if (known !== undefined && known !== owner)
        throw new Error(`replica ${replica}: ${known} and ${owner}`);
      this.#owners.set(replica, owner);
    }
  }

  /** Null unless someone leads who has committed in its term, and no change is under way. */
  #settled(): GroupConfig | null {
    const leader = this.cluster.nodes.find(({ server }) => server?.groups[0]?.core.committedInTerm === true);
    if (leader === undefined) return null;
    const { core, store } = leader.group;
    const { config } = core;
    if (config.outgoing.length > 0 || core.configIndex > core.commitIndex) return null;
    return store.appliedIndex === core.commitIndex ? config : null;
  }

  /** Every voter is on a node that runs, and has all that is committed. */
  #isWhole(): boolean {
    const config = this.#settled();
    if (config === null) return false;
    const { nodes } = this.cluster;
    const commit = Math.max(...nodes.map(({ server }) => server?.groups[0]?.core.commitIndex ?? 0));
    return config.voters.every(({ node, replica }) => {
      const group = nodes.find(({ id }) => id === node)?.server?.groups[0];
      return (
        group?.replica === replica && group.core.durableIndex >= commit && group.store.appliedIndex >= commit
      );
    });
  }

  // ------------------------------------------------------------------------------------------- the end

  #heal(): void {
    this.#mend();
    for (const writer of this.#writers) writer.end();
    this.#restartAt.clear();
    for (const [i, node] of this.cluster.nodes.entries()) if (!node.machine.running) this.cluster.start(i);
    const isOver = (): boolean => {
      this.#noteOwners();
      return this.#isWhole() && (this.#settled()?.voters.length ?? 0) === this.members;
    };
    try {
      this.cluster.until("every voter lives and has everything", isOver, CONVERGE_MS);
    } catch (error) {
      throw new Error(this.describe(), { cause: error });
    }
    this.#check();
  }

  describe(): string {
    return this.cluster.nodes
      .map(({ id, server }) => {
        const group = server?.groups[0];
        if (group === undefined) return `${id}: ${server?.waitsBecause ?? "down"}`;
        const { role, term, config, commitIndex, lastIndex } = group.core;
        const lists = [config.voters, config.outgoing, config.learners].map((list) =>
          list.map(({ node, replica }) => `${node}:${replica}`).join(" "),
        );
        return `${id}: ${group.replica} ${role} term ${term} commit ${commitIndex} of ${lastIndex} [${lists.join("|")}]`;
      })
      .join("\n");
  }

  #check(): void {
    const { nodes } = this.cluster;
    const config = this.#settled() as GroupConfig;
    if (new Set(config.voters.map(({ node }) => node)).size !== this.members)
      throw new Error("two voters on one node");
    const groups = config.voters.map(({ node }) => nodes.find(({ id }) => id === node)?.server?.groups[0]);
    const states = new Set(groups.map((group) => `${group?.store.appliedIndex} ${group?.store.stateHash()}`));
    if (states.size !== 1) throw new Error(`states differ: ${[...states].join(", ")}`);
    const leader = nodes.findIndex((node) => node.isLeader);
    const counter = Number(this.cluster.call(leader, "GET", "counter"));
    const most = this.#added + this.#addedPerhaps;
    if (counter < this.#added || counter > most)
      throw new Error(`the counter is ${counter}; ${this.#added} to ${most} were added`);
    this.#checkKeys(leader);
  }

  #checkKeys(leader: number): void {
    const client = this.cluster.client(leader);
    const keys = [...this.#written, ...this.#refused];
    client.pipeline(...keys.map((key) => ["GET", key]));
    this.cluster.until("all answers", () => client.replies.length === keys.length || client.closed);
    for (const [at, key] of keys.entries()) {
      const wanted = at < this.#written.length ? `value of ${key}` : "(nil)";
      if (client.replies[at] !== wanted) throw new Error(`${key} is ${client.replies[at]}, not ${wanted}`);
    }
    client.close();
  }
}
