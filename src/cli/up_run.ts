/** One run of `up`: claims the directory, starts the processes, waits for leaders, talks, and stops everything. */
import { performance } from "node:perf_hooks";
import { setTimeout as sleep } from "node:timers/promises";
import {
  type ClusterTree,
  controlsOf,
  endBirth,
  hasStarted,
  isInBirth,
  logPath,
  type Member,
  nodesOf,
} from "./cluster_dir.ts";
import { EXIT } from "./exit_codes.ts";
import { CliError, counted, listed, type Paint, paintFor, shellWord } from "./output.ts";
import { ownCommandText, shortPath } from "./own_command.ts";
import { dropPidFile } from "./pid_file.ts";
import { runLines } from "./repl_batch.ts";
import { runInteractive } from "./repl_interactive.ts";
import type { LocalCluster } from "./repl_kill.ts";
import { Session } from "./repl_session.ts";
import type { LineTerminal } from "./repl_terminal.ts";
import { type Death, Supervisor } from "./supervisor.ts";
import { claim } from "./up_claim.ts";
import { firstScreen, jsonLine } from "./up_screen.ts";
import { type LocalView, look, readinessOf, servingOf } from "./up_watch.ts";
import { waitsText } from "./view_text.ts";

export type RunOptions = { readonly repl: boolean; readonly respawn: boolean; readonly json: boolean };

/** Elections take under a second; replaying a full log on a slow disk takes longer. */
const READY_MS_MAX = 120_000;
/** With all leaders there, how long a node that has not answered yet is waited for. */
const STRAGGLER_MS_MAX = 5000;
/** What usually takes a second or two; with a control plane nodes register first, and shards are made. */
const SLOW_START_MS = { fixed: 3000, managed: 8000 };
const POLL_MS = 50;
const BIRTH_POLL_MS = 1000;
/** After this the person is told how to hurry. */
const SLOW_STOP_MS = 3000;

export class LocalRun {
  readonly #tree: ClusterTree;
  readonly #options: RunOptions;
  readonly #supervisor: Supervisor;
  readonly #talk: Paint = paintFor(process.stderr, process.env);
  /** A stop was asked for: resolves `#stopAsked`. */
  #askStop: () => void = () => {};
  readonly #stopAsked: Promise<void>;
  #stopping = false;
  #isBorn = false;
  /** As it was when this run began. */
  #isBirth = false;
  #terminal: LineTerminal | null = null;
  /** Nodes whose death is somebody's wish and reported by them. */
  readonly #doomed = new Set<string>();

  constructor(tree: ClusterTree, options: RunOptions) {
    this.#tree = tree;
    this.#options = options;
    this.#supervisor = new Supervisor(tree, options.respawn, (death) => this.#onDeath(death));
    this.#stopAsked = new Promise((resolve) => {
      this.#askStop = resolve;
    });
  }

  async run(): Promise<void> {
    await claim(this.#tree);
    this.#isBirth = isInBirth(this.#tree);
    for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.on(signal, () => this.#onSignal());
    try {
      this.#supervisor.startAll();
      const local = await this.#untilReady();
      if (local !== null) await this.#serve(local);
    } finally {
      await this.#stop();
    }
  }

  /** Null: a stop was asked for meanwhile. */
  async #untilReady(): Promise<LocalView | null> {
    const startMs = performance.now();
    let ledSinceMs: number | null = null;
    let told = "";
    const slowMs = SLOW_START_MS[this.#tree.fixed === null ? "managed" : "fixed"];
    while (!this.#stopping) {
      const local = await look(this.#tree);
      const { view } = local;
      const nowMs = performance.now();
      const expected = this.#supervisor.expected;
      const ready = readinessOf(
        this.#tree,
        local,
        this.#isBirth,
        expected.map(({ id }) => id),
      );
      ledSinceMs = ready.isLed ? (ledSinceMs ?? nowMs) : null;
      this.#noticeBirth(local);
      if (ledSinceMs !== null && (ready.isComplete || nowMs - ledSinceMs > STRAGGLER_MS_MAX)) return local;
      if (!this.#isMajority(expected)) throw this.#noMajority();
      if (nowMs - startMs > READY_MS_MAX) throw this.#notReady(local);
      if (nowMs - startMs > slowMs && told === "") {
        told = ready.text;
        console.error(`Waiting: ${told} ..`);
        const waits = waitsText(view);
        if (waits !== "") console.error(waits);
      }
      await Promise.race([sleep(POLL_MS), this.#stopAsked]);
    }
    return null;
  }

  /** Everything has started at least once: nothing may ever be begun anew. */
  #noticeBirth(local: LocalView): void {
    if (this.#isBorn || local.view.nodes.some(({ alive }) => !alive)) return;
    if (!controlsOf(this.#tree).every((control) => hasStarted(this.#tree, control))) return;
    if (this.#isBirth && servingOf(local) < (this.#tree.first?.shards ?? 0)) return;
    endBirth(this.#tree);
    this.#isBorn = true;
  }

  /** A process that was too late for `ready` is waited for as long as this runs. */
  async #watchBirth(): Promise<void> {
    while (!this.#isBorn && !this.#stopping) {
      await sleep(BIRTH_POLL_MS, undefined, { ref: false });
      this.#noticeBirth(await look(this.#tree));
    }
  }

  /** Of the nodes; and as long as the cluster is being born, of the control processes too. */
  #isMajority(expected: readonly Member[]): boolean {
    const isMost = (of: readonly Member[]): boolean =>
      of.length === 0 || of.filter((member) => expected.includes(member)).length > of.length / 2;
    const controls = this.#isBirth ? controlsOf(this.#tree) : [];
    return isMost(nodesOf(this.#tree)) && isMost(controls);
  }

  #noMajority(): CliError {
    const { members } = this.#tree;
    const left = this.#supervisor.expected.length;
    const all = counted(members.length, this.#tree.fixed === null ? "process" : "node");
    return new CliError(
      EXIT.unavailable,
      `Only ${left} of ${all} could be started.`,
      "That is no majority, so nothing can be written.",
      "The reasons are above; mend them and give the same command again.",
    );
  }

  #notReady({ view }: LocalView): CliError {
    const without = view.shards.filter(({ leader }) => leader === null).map(({ id }) => id);
    const none = view.nodes.some(({ alive }) => alive) ? "There are no shards yet" : "No node answers";
    const what = without.length === 0 ? none : `No leader: ${listed(without)},`;
    const logs = this.#tree.members.map((member) => shortPath(logPath(this.#tree, member)));
    return new CliError(
      EXIT.unavailable,
      `${what} after ${READY_MS_MAX / 1000} s.`,
      waitsText(view) || "The processes run, but do not agree on leaders.",
      `Their logs tell more: ${logs.join(" ")}`,
    );
  }

  async #serve(local: LocalView): Promise<void> {
    const pidOf = (id: string): number | null => this.#supervisor.pidOf(id);
    if (this.#options.json) {
      console.log(jsonLine(this.#tree, local, pidOf));
    } else {
      const paint = paintFor(process.stdout, process.env);
      console.log(`${firstScreen(this.#tree, local, pidOf, this.#options.repl, paint)}\n\nready`);
    }
    void this.#watchBirth();
    if (this.#options.repl) await Promise.race([this.#repl(), this.#stopAsked]);
    else await this.#stopAsked;
  }

  async #repl(): Promise<void> {
    const first = nodesOf(this.#tree)[0] as Member;
    const session = new Session({ host: first.host, port: first.port });
    const local: LocalCluster = {
      respawns: this.#options.respawn,
      restartText: (id) => this.#supervisor.restartText(id),
      onKill: (id) => this.#doomed.add(id),
      start: (id) => this.#supervisor.start(id),
    };
    const onTerminal = (terminal: LineTerminal): void => {
      this.#terminal = terminal;
    };
    try {
      if (process.stdin.isTTY && process.stdout.isTTY) {
        await runInteractive(session, { local, greet: false, onTerminal });
      } else {
        const paint = paintFor(process.stdout, process.env);
        process.exitCode = await runLines(session, process.stdin, { format: "raw", paint, local });
      }
    } finally {
      session.close();
    }
  }

  #onDeath({ member, pid, how, why, respawns }: Death): void {
    const { id } = member;
    if (this.#doomed.delete(id)) return;
    const reason = why === "" ? "" : `\n  It said: ${why}`;
    const here = this.#terminal === null ? "" : `  :start ${id}  or, elsewhere, with`;
    const next = respawns
      ? "It is started again in a second."
      : `Start it again with${here}:\n  ${this.#supervisor.restartText(id)}`;
    this.#notice(`${this.#talk("yellow", `${id} (pid ${pid}) ${how}.`)}${reason}\n  ${next}`);
  }

  #notice(text: string): void {
    if (this.#terminal === null) console.error(text);
    else this.#terminal.notice(text);
  }

  #onSignal(): void {
    if (this.#stopping) {
      console.error("Killing all processes; they recover from their logs at the next start.");
      this.#supervisor.killAll();
      return;
    }
    this.#stopping = true;
    this.#terminal?.close();
    this.#askStop();
  }

  async #stop(): Promise<void> {
    this.#stopping = true;
    this.#terminal = null;
    const { running } = this.#supervisor;
    const count = running.length;
    const nodes = running.filter(({ kind }) => kind === "node").length;
    const controls = count > nodes ? `, ${counted(count - nodes, "control process")}` : "";
    if (count > 0) console.error(`Stopping ${counted(nodes, "node")}${controls} ..`);
    const slow = setTimeout(() => console.error("Still stopping; Ctrl-C again kills them."), SLOW_STOP_MS);
    await this.#supervisor.stop();
    clearTimeout(slow);
    dropPidFile(this.#tree.dir);
    const dir = shortPath(this.#tree.dir);
    const again = `${ownCommandText()} up${dir === "./data" ? "" : ` --dir ${shellWord(dir)}`}`;
    if (count > 0) console.error(`Stopped. The data stays in ${dir}; go on with: ${again}`);
  }
}
