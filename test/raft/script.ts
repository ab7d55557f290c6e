/**
 * Golden scripts: commands to an in-memory cluster, and all that they caused.
 *
 *     # Title of the test, hazard first.
 *     # Why this matters.
 *
 *     cluster 1,2,3            commands, one a line
 *     campaign 1
 *     ----
 *     1 is precandidate t0     output, up to the next empty line; rewritten by UPDATE=1
 *
 * Commands (ID: a replica; IDS: "1,2", default all):
 *
 *     cluster IDS [learners=IDS] [window=N] [windowBytes=N] [appendBytes=N] [uncommitted=N] [rest=TICKS]
 *     campaign|hold|lose|stepdown ID      tick ID [N]        propose ID TEXT..      fill ID BYTES     read|ask ID NUMBER   answer ID
 *     elect ID IDS      ID campaigns among IDS, who forget their leader, up to the moment it leads
 *     config ID [version=N] [add=NODE,..] [promote=IDS] [remove=IDS]           transfer ID TO
 *     look|rouse ID     what a driver does with a group at rest           silent ID TICKS   what it knows of a node
 *     away|there ID     whether anything reaches a replica's node
 *     take ID           one Ready: writes are queued on the disk, messages join the network
 *     persist ID [N]    the first N (default all) queued writes are synced
 *     deliver [#N | FROM TO [KIND]]      drop (likewise)      copy #N     packets
 *     cut A>B | cut ID  mend             links; `cut ID` cuts all of its links
 *     slow ID  fast ID                   `settle` does not sync the disk of a slow one
 *     settle [IDS]      take, persist and deliver among IDS until nothing happens
 *     run N [IDS]       N times: a tick of each, then settle
 *     crash ID [N]      the first N queued writes survive            restart ID        create ID
 *     compact ID [INDEX]                 stream ID TO [fail]
 *     inject KIND FROM TO tN [..]        a message that no replica sent; see `inject`
 *     status [IDS]  disk [IDS]  progress ID  commits
 *
 * Replica N campaigns after 9 + N ticks of silence; heartbeats go every 3 ticks.
 * `quietly COMMAND` shows only what became of the replicas, not what was written and sent.
 */
import { AssertionError, assert, present } from "../../src/base/assert.ts";
import { utf8 } from "../../src/base/bytes.ts";
import type { ConfigChange } from "../../src/raft/config.ts";
import {
  ENTRY_KIND,
  type GroupConfig,
  type Message,
  type ReplicaId,
  type RestOptions,
} from "../../src/raft/types.ts";
import { Cluster, makeEntry, type Observer, type Packet, type Replica } from "./cluster.ts";
import { showConfig, showDisk, showEntry, showPacket, showProgress, showStatus } from "./print.ts";

type Args = { readonly words: readonly string[]; readonly named: ReadonlyMap<string, string> };

const SETTLE_ROUNDS_MAX = 200;

export class Script {
  #cluster: Cluster | null = null;
  #lines: string[] = [];
  #quiet = false;
  /** Replicas whose disks `settle` leaves alone. */
  readonly #slow = new Set<ReplicaId>();
  /** What the driver says of nodes, for rests. */
  readonly #silence = new Map<ReplicaId, number>();
  readonly #away = new Set<ReplicaId>();
  /** Last thing shown of each replica, by aspect. */
  readonly #shown = new Map<string, string>();

  /** Runs one command line; gives what it printed. */
  run(line: string): string[] {
    this.#lines = [];
    const quietly = line.startsWith("quietly ");
    this.#quiet = quietly;
    const words = line.split(/\s+/).slice(quietly ? 1 : 0);
    const name = words.shift() ?? "";
    const named = new Map(
      words.filter((w) => /^\w+=/.test(w)).map((w) => w.split("=", 2) as [string, string]),
    );
    const args = { words: words.filter((w) => !/^\w+=/.test(w)), named };
    const command = this.#commands[name];
    assert(command !== undefined, `command ${name} is known`);
    command(args);
    this.#lookAround();
    return this.#lines;
  }

  readonly #commands: Record<string, (args: Args) => void> = {
    cluster: (args) => this.#build(args),
    create: ({ words }) => void this.#world.create(idOf(words[0])),
    campaign: ({ words }) => this.#at(words[0], (r) => r.core.campaign()),
    elect: ({ words }) => this.#elect(this.#world.get(idOf(words[0])), this.#some(words[1])),
    look: ({ words }) => this.#at(words[0], (r) => r.core.look()),
    rouse: ({ words }) => this.#at(words[0], (r) => r.core.rouse()),
    silent: ({ words }) => void this.#silence.set(idOf(words[0]), Number(words[1])),
    away: ({ words }) => void this.#away.add(idOf(words[0])),
    there: ({ words }) => void this.#away.delete(idOf(words[0])),
    hold: ({ words }) => this.#at(words[0], (r) => r.core.holdElection()),
    lose: ({ words }) => this.#at(words[0], (r) => r.core.loseLeader()),
    stepdown: ({ words }) => this.#at(words[0], (r) => r.core.stepDown()),
    tick: ({ words }) => this.#at(words[0], (r) => repeat(words[1] ?? "1", () => r.core.tick())),
    propose: ({ words }) => this.#at(words[0], (r) => each(words.slice(1), (text) => this.#propose(r, text))),
    fill: ({ words }) => this.#at(words[0], (r) => this.#propose(r, "x".repeat(Number(words[1])))),
    read: ({ words }) =>
      this.#at(words[0], (r) => this.#say(r.core.readIndex(Number(words[1])) ? "" : "refused: not_leader")),
    answer: ({ words }) =>
      this.#at(words[0], ({ core: { answer } }) =>
        this.#say(answer === null ? "no answer" : `ask ${answer.id} may be answered at ${answer.index}`),
      ),
    ask: ({ words }) =>
      this.#at(words[0], (r) =>
        this.#say(r.core.askLeader(Number(words[1])) ? "" : "refused: nobody to ask"),
      ),
    config: (args) => this.#at(args.words[0], (r) => this.#change(r, args)),
    transfer: ({ words }) => this.#at(words[0], (r) => this.#refusal(r.core.transfer(idOf(words[1])))),
    take: ({ words }) => this.#at(words[0], (r) => void r.take()),
    persist: ({ words }) =>
      this.#at(words[0], (r) => r.persist(words[1] === undefined ? undefined : Number(words[1]))),
    deliver: ({ words }) => each(this.#pick(words), (packet) => this.#deliver(packet)),
    drop: ({ words }) => each(this.#pick(words), (packet) => this.#remove(packet)),
    copy: ({ words }) => void this.#world.packets.push(...this.#pick(words)),
    cut: ({ words }) => this.#cut(words[0] ?? ""),
    mend: () => this.#world.cuts.clear(),
    slow: ({ words }) => void this.#slow.add(idOf(words[0])),
    fast: ({ words }) => void this.#slow.delete(idOf(words[0])),
    settle: ({ words }) => this.#settle(this.#some(words[0])),
    run: ({ words }) => this.#runFor(Number(words[0]), this.#some(words[1])),
    crash: ({ words }) => this.#world.get(idOf(words[0])).crash(Number(words[1] ?? 0)),
    restart: ({ words }) => this.#world.get(idOf(words[0])).restart(),
    compact: ({ words }) =>
      this.#at(words[0], (r) => r.compact(words[1] === undefined ? undefined : Number(words[1]))),
    stream: ({ words }) => this.#at(words[0], (r) => r.stream(idOf(words[1]), words[2] !== "fail")),
    inject: ({ words }) =>
      this.#at(words[2], (r) => r.receive({ id: 0, message: this.#forge(words), held: null })),
    status: ({ words }) => each(this.#some(words[0]), (r) => this.#say(showStatus(r))),
    disk: ({ words }) => each(this.#some(words[0]), (r) => this.#say(showDisk(r))),
    progress: ({ words }) => each(showProgress(this.#world.get(idOf(words[0]))), (line) => this.#say(line)),
    packets: () => each(this.#world.packets, (packet) => this.#say(showPacket(packet))),
  };

  get #world(): Cluster {
    return present(this.#cluster, "a script begins with a cluster");
  }

  #build({ words, named }: Args): void {
    const number = (name: string, otherwise: number): number => Number(named.get(name) ?? otherwise);
    const member = (replica: ReplicaId) => ({ replica, node: `n${replica}` });
    const voters = idsOf(words[0] ?? "").map(member);
    const learners = idsOf(named.get("learners") ?? "").map(member);
    const config: GroupConfig = {
      version: 1,
      voters,
      outgoing: [],
      learners,
      nextReplica: Math.max(...[...voters, ...learners].map(({ replica }) => replica)) + 1,
    };
    const options = {
      rest: named.has("rest") ? this.#restOptions(number("rest", 0)) : null,
      heartbeatTicks: 3,
      electionTicksMin: 10,
      electionTicksMax: 19,
      inflightMessagesMax: number("window", 8),
      inflightBytesMax: number("windowBytes", 1 << 20),
      appendBytesMax: number("appendBytes", 1 << 20),
      uncommittedBytesMax: number("uncommitted", 1 << 20),
      randomOf: (self: ReplicaId) => (bound: number) => Math.min(self, bound) - 1,
    };
    this.#slow.clear();
    this.#cluster = new Cluster(config, options, this.#observer);
    for (const replica of this.#cluster.replicas.values()) this.#look(replica, false);
  }

  #restOptions(afterTicks: number): RestOptions {
    this.#silence.clear();
    this.#away.clear();
    return {
      afterTicks,
      of: (replica) => (this.#away.has(replica) ? "away" : "can"),
      silenceTicks: (replica) => this.#silence.get(replica) ?? 0,
    };
  }

  readonly #observer: Observer = {
    took: (replica, ready) => {
      const { id } = replica;
      const { hardState, truncatedFrom, entries, snapshot } = ready;
      if (hardState !== null) {
        const { term, vote, commit } = hardState;
        this.#detail(
          `${id} writes t${term} vote=${vote} commit=${commit}${ready.mustSync ? "" : " (no sync)"}`,
        );
      }
      if (snapshot !== null) this.#detail(`${id} installs ${snapshot.index}/t${snapshot.term}`);
      else if (truncatedFrom !== null) this.#detail(`${id} truncates from ${truncatedFrom}`);
      if (entries.length > 0) this.#detail(`${id} writes [${entries.map(showEntry).join(", ")}]`);
      for (const to of ready.snapshotsWanted) this.#say(`${id} wants a snapshot for ${to}`);
      for (const lost of ready.readsLost) this.#say(`${id} loses read ${lost}`);
    },
    sent: (_replica, packet) => {
      const { from, to } = packet.message;
      this.#detail(`${showPacket(packet)}${this.#world.cuts.has(`${from}>${to}`) ? " (cut)" : ""}`);
    },
    applied: () => {},
    answered: (replica, read) => this.#say(`${replica.id} answers read ${read.id} at ${read.index}`),
  };

  #say(line: string): void {
    if (line !== "") this.#lines.push(line);
  }

  #detail(line: string): void {
    if (!this.#quiet) this.#say(line);
  }

  /** Calls into a replica, and shows what that made of it; a tripped assertion takes it down. */
  #at(word: string | undefined, call: (replica: Replica) => unknown): void {
    const replica = this.#world.get(idOf(word));
    try {
      call(replica);
    } catch (error) {
      if (!(error instanceof AssertionError)) throw error;
      this.#say(`${replica.id} ${error.message}`);
      replica.crash();
    }
    this.#look(replica, true);
  }

  #lookAround(): void {
    for (const replica of this.#world.replicas.values()) this.#look(replica, true);
  }

  /** Shows the aspects of a replica that changed since last shown. */
  #look(replica: Replica, aloud: boolean): void {
    const { id, core, up } = replica;
    const following = core.role === "follower" ? ` of ${core.leader === 0 ? "nobody" : core.leader}` : "";
    const aspects: Record<string, string> = {
      role: up ? `${id} is ${core.role}${following} t${core.term}` : `${id} is down`,
      commit: `${id} commits ${core.commitIndex}`,
      config: `${id} has config ${showConfig(core.config)}`,
      rejected: `${id} rejected ${core.rejectedMessages} message(s)`,
    };
    for (const [aspect, text] of Object.entries(aspects)) {
      const key = `${aspect} ${id}`;
      const before = this.#shown.get(key);
      this.#shown.set(key, text);
      if (aloud && before !== undefined && before !== text) this.#say(text);
    }
  }

  #propose(replica: Replica, text: string): void {
    const refusal = replica.core.proposable(text.length);
    this.#refusal(refusal);
    if (refusal === null) replica.propose(text);
  }

  #change(replica: Replica, { named }: Args): void {
    const change: ConfigChange = {
      version: Number(named.get("version") ?? replica.core.config.version),
      addLearners: (named.get("add") ?? "").split(",").filter((node) => node !== ""),
      promote: idsOf(named.get("promote") ?? ""),
      remove: idsOf(named.get("remove") ?? ""),
    };
    this.#refusal(replica.core.proposeConfig(change));
  }

  #refusal(refusal: string | null): void {
    if (refusal !== null) this.#say(`refused: ${refusal}`);
  }

  #pick(words: readonly string[]): Packet[] {
    const { packets } = this.#world;
    const [first, second, kind] = words;
    if (first === undefined) return [...packets];
    if (first.startsWith("#")) return packets.filter(({ id }) => `#${id}` === first).slice(0, 1);
    return packets.filter(
      ({ message }) =>
        message.from === idOf(first) &&
        message.to === idOf(second) &&
        (kind === undefined || message.kind === kind),
    );
  }

  #remove(packet: Packet): void {
    this.#world.packets.splice(this.#world.packets.indexOf(packet), 1);
  }

  #deliver(packet: Packet): void {
    const { to } = packet.message;
    this.#remove(packet);
    if (!this.#world.get(to).up) return;
    this.#detail(`${to} gets #${packet.id}`);
    this.#at(String(to), (replica) => replica.receive(packet));
  }

  #cut(what: string): void {
    const { cuts, replicas } = this.#world;
    if (what.includes(">")) {
      cuts.add(what);
      return;
    }
    for (const other of replicas.keys()) cuts.add(`${what}>${other}`).add(`${other}>${what}`);
  }

  #elect(candidate: Replica, voters: readonly Replica[]): void {
    this.#quiet = true;
    const leads = (): boolean => candidate.core.role === "leader";
    // The first attempt of one that fell behind may only teach it the term.
    for (let attempt = 0; attempt < 3 && !leads(); attempt++) {
      for (const voter of voters) voter.core.holdElection();
      this.#at(String(candidate.id), (r) => r.core.campaign());
      this.#settle([candidate, ...voters], leads);
    }
  }

  #settle(among: readonly Replica[], done = (): boolean => false): void {
    const ids = new Set(among.map(({ id }) => id));
    for (let round = 0; round < SETTLE_ROUNDS_MAX; round++) {
      let busy = false;
      for (const { id } of among) this.#at(String(id), (r) => (busy = (r.up && r.take() !== null) || busy));
      if (done()) return;
      for (const { id, disk } of among) {
        if (this.#slow.has(id) || disk.queue.length === 0) continue;
        busy = true;
        this.#at(String(id), (r) => r.persist());
      }
      const inside = this.#world.packets.filter(({ message: m }) => ids.has(m.from) && ids.has(m.to));
      for (const packet of inside) this.#deliver(packet);
      if (done()) return;
      if (!busy && inside.length === 0) return;
    }
    this.#say("does not settle");
  }

  #runFor(ticks: number, among: readonly Replica[]): void {
    for (let i = 0; i < ticks; i++) {
      for (const { id } of among) this.#at(String(id), (r) => r.up && r.core.tick());
      this.#settle(among);
    }
  }

  #some(word: string | undefined): Replica[] {
    if (word === undefined) return [...this.#world.replicas.values()];
    return idsOf(word).map((id) => this.#world.get(id));
  }

  /**
   * inject append FROM TO tT after:I/T [entries:I/T,..] [last:I] [commit:I]      inject append_reply FROM TO tT has:I
   * inject heartbeat FROM TO tT commit:I round:N [rest:N] inject heartbeat_reply FROM TO tT round:N [rest:N]
   * inject vote|prevote FROM TO tT last:I/T [transfer]    inject vote_reply|prevote_reply FROM TO tT yes|no
   */
  #forge(words: readonly string[]): Message {
    const [kind = "", from, to, t = "", ...rest] = words;
    const envelope = { from: idOf(from), to: idOf(to), term: Number(t.slice(1)) };
    const value = (name: string): string => {
      const word = rest.find((candidate) => candidate.startsWith(`${name}:`));
      return word?.slice(name.length + 1) ?? "0/0";
    };
    const place = (text: string): [number, number] => text.split("/").map(Number) as [number, number];
    switch (kind) {
      case "append": {
        const [prevIndex, prevTerm] = place(value("after"));
        const named = value("entries");
        const entries = (named === "" || named === "0/0" ? [] : named.split(",")).map((text) => {
          const [index, term] = place(text);
          return makeEntry(ENTRY_KIND.commands, term, index, utf8("forged"), this.#world.nextSerial());
        });
        const lastIndex = rest.some((word) => word.startsWith("last:"))
          ? Number(value("last"))
          : prevIndex + entries.length;
        const commit = place(value("commit"))[0];
        return { kind, ...envelope, prevIndex, prevTerm, lastIndex, entries, commit };
      }
      case "append_reply":
        return {
          kind,
          ...envelope,
          accepted: true,
          index: place(value("has"))[0],
          hintIndex: 0,
          hintTerm: 0,
        };
      case "heartbeat":
        return {
          kind,
          ...envelope,
          commit: place(value("commit"))[0],
          round: place(value("round"))[0],
          rest: place(value("rest"))[0],
        };
      case "heartbeat_reply":
        return { kind, ...envelope, round: place(value("round"))[0], rest: place(value("rest"))[0] };
      case "vote":
      case "prevote": {
        const [lastIndex, lastTerm] = place(value("last"));
        return { kind, ...envelope, lastIndex, lastTerm, transfer: rest.includes("transfer") };
      }
      case "vote_reply":
      case "prevote_reply":
        return { kind, ...envelope, granted: rest.includes("yes") };
      case "timeout_now":
        return { kind, ...envelope };
      default:
        throw new AssertionError(`no message ${kind} to inject`);
    }
  }
}

function idOf(word: string | undefined): ReplicaId {
  const id = Number(word);
  assert(Number.isInteger(id) && id > 0, `${word} is a replica`);
  return id;
}

function idsOf(word: string): ReplicaId[] {
  return word === "" ? [] : word.split(",").map(idOf);
}

function each<T>(list: readonly T[], action: (one: T) => void): void {
  for (const one of list) action(one);
}

function repeat(times: string, action: () => void): void {
  for (let i = 0; i < Number(times); i++) action();
}

/** Replays a whole file: the same text with the outputs as they are now. */
export function replay(text: string): string {
  const script = new Script();
  return text
    .split(/\n\n+/)
    .map((block) => {
      const commands = block.split("\n----")[0]?.trimEnd() ?? "";
      const lines = commands.split("\n").filter((line) => line !== "" && !line.startsWith("#"));
      if (lines.length === 0) return commands;
      return [commands, "----", ...lines.flatMap((line) => script.run(line))].join("\n");
    })
    .join("\n\n")
    .concat("\n");
}
