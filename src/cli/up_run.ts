/** One run of `up`: claims the directory, starts the nodes, waits for leaders, talks, and stops everything. */
import { performance } from "node:perf_hooks";
import { setTimeout as sleep } from "node:timers/promises";
import type { NodeAddress } from "../server/layout.ts";
import { showAddress } from "./address.ts";
import { type ClusterTree, endBirth, logPath } from "./cluster_dir.ts";
import { askNode, type ClusterView, merge, type Reports } from "./cluster_view.ts";
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
import { waitsText } from "./view_text.ts";

export type RunOptions = { readonly repl: boolean; readonly respawn: boolean; readonly json: boolean };

/** Elections take under a second; replaying a full log on a slow disk takes longer. */
const READY_MS_MAX = 120_000;
/** With all leaders there, how long a node that has not answered yet is waited for. */
const STRAGGLER_MS_MAX = 5000;
const SLOW_START_MS = 3000;
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
    for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.on(signal, () => this.#onSignal());
    try {
      this.#supervisor.startAll();
      const view = await this.#untilReady();
      if (view !== null) await this.#serve(view);
    } finally {
      await this.#stop();
    }
  }

  /** Null: a stop was asked for meanwhile. */
  async #untilReady(): Promise<ClusterView | null> {
    const startMs = performance.now();
    let ledSinceMs: number | null = null;
    let told = false;
    while (!this.#stopping) {
      const view = merge(await this.#askAll());
      const nowMs = performance.now();
      const led = view.shards.length > 0 && view.shards.every(({ leader }) => leader !== null);
      ledSinceMs = led ? (ledSinceMs ?? nowMs) : null;
      this.#noticeBirth(view);
      const answered = view.nodes.filter(({ alive }) => alive).length;
      const complete = answered >= this.#supervisor.expected;
      if (ledSinceMs !== null && (complete || nowMs - ledSinceMs > STRAGGLER_MS_MAX)) return view;
      if (this.#supervisor.expected <= view.nodes.length / 2) throw this.#noMajority();
      if (nowMs - startMs > READY_MS_MAX) throw this.#notReady(view);
      if (!told && nowMs - startMs > SLOW_START_MS) {
        told = true;
        console.error(
          `Waiting: ${answered} of ${counted(view.nodes.length, "node")} answer${led ? "" : ", no leader yet"} ..`,
        );
        const waits = waitsText(view);
        if (waits !== "") console.error(waits);
      }
      await Promise.race([sleep(POLL_MS), this.#stopAsked]);
    }
    return null;
  }

  /** Every node has started at least once: none may ever be begun anew. */
  #noticeBirth({ nodes }: ClusterView): void {
    if (this.#isBorn || nodes.some(({ alive }) => !alive)) return;
    endBirth(this.#tree);
    this.#isBorn = true;
  }

  /** A node that was too late for `ready` is waited for as long as this runs. */
  async #watchBirth(): Promise<void> {
    while (!this.#isBorn && !this.#stopping) {
      await sleep(BIRTH_POLL_MS, undefined, { ref: false });
      this.#noticeBirth(merge(await this.#askAll()));
    }
  }

  async #askAll(): Promise<Reports> {
    const { cluster, nodes } = this.#tree.layout;
    return Promise.all(
      nodes.map(async (node) => {
        const report = await askNode(node, 500).catch(() => null);
        const own = report !== null && report.cluster === cluster && report.node === node.id;
        return { id: node.id, addr: showAddress(node), http: null, report: own ? report : null };
      }),
    );
  }

  #noMajority(): CliError {
    const { nodes } = this.#tree.layout;
    const left = this.#supervisor.expected;
    return new CliError(
      EXIT.unavailable,
      `Only ${left} of ${counted(nodes.length, "node")} could be started.`,
      "That is no majority, so nothing can be written.",
      "The reasons are above; mend them and give the same command again.",
    );
  }

  #notReady(view: ClusterView): CliError {
    const without = view.shards.filter(({ leader }) => leader === null).map(({ id }) => id);
    const what = without.length === 0 ? "No node answers" : `${listed(without)} has no leader`;
    const logs = this.#tree.layout.nodes.map((node) => shortPath(logPath(this.#tree, node)));
    return new CliError(
      EXIT.unavailable,
      `${what} after ${READY_MS_MAX / 1000} s.`,
      waitsText(view) || "The nodes run, but do not agree on a leader.",
      `Their logs tell more: ${logs.join(" ")}`,
    );
  }

  async #serve(view: ClusterView): Promise<void> {
    const pidOf = (id: string): number | null => this.#supervisor.pidOf(id);
    if (this.#options.json) {
      console.log(jsonLine(this.#tree, view, pidOf));
    } else {
      const paint = paintFor(process.stdout, process.env);
      console.log(`${firstScreen(this.#tree, view, pidOf, this.#options.repl, paint)}\n\nready`);
    }
    void this.#watchBirth();
    if (this.#options.repl) await Promise.race([this.#repl(), this.#stopAsked]);
    else await this.#stopAsked;
  }

  async #repl(): Promise<void> {
    const first = this.#tree.layout.nodes[0] as NodeAddress;
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

  #onDeath({ node, pid, how, why, respawns }: Death): void {
    if (this.#doomed.delete(node.id)) return;
    const reason = why === "" ? "" : `\n  It said: ${why}`;
    const here = this.#terminal === null ? "" : `  :start ${node.id}  or, elsewhere, with`;
    const next = respawns
      ? "It is started again in a second."
      : `Start it again with${here}:\n  ${this.#supervisor.restartText(node.id)}`;
    this.#notice(`${this.#talk("yellow", `${node.id} (pid ${pid}) ${how}.`)}${reason}\n  ${next}`);
  }

  #notice(text: string): void {
    if (this.#terminal === null) console.error(text);
    else this.#terminal.notice(text);
  }

  #onSignal(): void {
    if (this.#stopping) {
      console.error("Killing the nodes; they recover from their logs at the next start.");
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
    const count = this.#supervisor.running;
    if (count > 0) console.error(`Stopping ${counted(count, "node")} ..`);
    const slow = setTimeout(() => console.error("Still stopping; Ctrl-C again kills them."), SLOW_STOP_MS);
    await this.#supervisor.stop();
    clearTimeout(slow);
    dropPidFile(this.#tree.dir);
    const dir = shortPath(this.#tree.dir);
    const again = `${ownCommandText()} up${dir === "./data" ? "" : ` --dir ${shellWord(dir)}`}`;
    if (count > 0) console.error(`Stopped. The data stays in ${dir}; go on with: ${again}`);
  }
}
