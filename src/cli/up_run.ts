/** One run of `up`: claims the directory, starts the nodes, waits for leaders, talks, and stops everything. */
import { createServer } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { codeOf } from "../base/errors.ts";
import type { NodeAddress } from "../server/layout.ts";
import { showAddress } from "./address.ts";
import { type ClusterTree, endBirth, logPath, makeTree, nodeDir, unusable } from "./cluster_dir.ts";
import { askNode, type ClusterView, merge, type Reports } from "./cluster_view.ts";
import { EXIT } from "./exit_codes.ts";
import { isNodeProcess, listenerOf } from "./local_process.ts";
import { CliError, counted, listed, type Paint, paintFor, shellWord } from "./output.ts";
import { ownCommandText, shortPath } from "./own_command.ts";
import { dropPidFile, isAlive, readPid, takePidFile } from "./pid_file.ts";
import { runLines } from "./repl_batch.ts";
import { runInteractive } from "./repl_interactive.ts";
import { Session } from "./repl_session.ts";
import type { LineTerminal } from "./repl_terminal.ts";
import { type Death, Supervisor } from "./supervisor.ts";
import { firstScreen, jsonLine } from "./up_screen.ts";

export type RunOptions = { readonly repl: boolean; readonly respawn: boolean; readonly json: boolean };

/** Elections take under a second; replaying a full log on a slow disk takes longer. */
const READY_MS_MAX = 120_000;
/** With all leaders there, how long a node that has not answered yet is waited for. */
const STRAGGLER_MS_MAX = 5000;
const POLL_MS = 50;
/** Nodes whose `up` was killed end by themselves; this is how long they get. */
const ORPHANS_MS_MAX = 5000;
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
    const { nodes } = this.#tree.layout;
    const startMs = Date.now();
    let ledSinceMs = 0;
    while (!this.#stopping) {
      const view = merge(await this.#askAll());
      const led = view.shards.length > 0 && view.shards.every(({ leader }) => leader !== null);
      const answered = view.nodes.filter(({ alive }) => alive).length;
      if (!led) ledSinceMs = 0;
      else if (ledSinceMs === 0) ledSinceMs = Date.now();
      if (answered === nodes.length) endBirth(this.#tree);
      const patience = Date.now() - ledSinceMs < STRAGGLER_MS_MAX && answered < this.#supervisor.expected;
      if (led && !patience) return view;
      if (this.#supervisor.expected <= nodes.length / 2) throw this.#noMajority();
      if (Date.now() - startMs > READY_MS_MAX) throw this.#notReady(view);
      await Promise.race([sleep(POLL_MS), this.#stopAsked]);
    }
    return null;
  }

  async #askAll(): Promise<Reports> {
    const { cluster, nodes } = this.#tree.layout;
    return Promise.all(
      nodes.map(async (node) => {
        const report = await askNode(node, 500).catch(() => null);
        const own = report !== null && report.cluster === cluster && report.node === node.id;
        return { id: node.id, addr: showAddress(node), report: own ? report : null };
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
      "The nodes run, but do not agree on a leader.",
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
    if (this.#options.repl) await Promise.race([this.#repl(), this.#stopAsked]);
    else await this.#stopAsked;
  }

  async #repl(): Promise<void> {
    const first = this.#tree.layout.nodes[0] as NodeAddress;
    const session = new Session({ host: first.host, port: first.port });
    try {
      if (process.stdin.isTTY && process.stdout.isTTY) {
        await runInteractive(session, {
          local: {
            respawns: this.#options.respawn,
            restartText: (id) => this.#supervisor.restartText(id),
            onKill: (id) => this.#doomed.add(id),
            start: (id) => this.#supervisor.start(id),
          },
          greet: false,
          onTerminal: (terminal) => {
            this.#terminal = terminal;
          },
        });
      } else {
        const printer = { format: "raw", paint: paintFor(process.stdout, process.env) } as const;
        process.exitCode = await runLines(session, process.stdin, printer);
      }
    } finally {
      session.close();
    }
  }

  #onDeath({ node, pid, how, why, respawns }: Death): void {
    if (this.#doomed.delete(node.id)) return;
    const reason = why === "" ? "" : `\n  It said: ${why}`;
    const next = respawns
      ? "It is started again in a second."
      : `Start it again with: ${this.#terminal === null ? "" : `:start ${node.id}  or, elsewhere, with:`}\n  ${this.#supervisor.restartText(node.id)}`;
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

/** Makes sure that nobody else runs this cluster or sits on its ports, and takes the directory. */
async function claim(tree: ClusterTree): Promise<void> {
  const watcher = readPid(tree.dir);
  if (watcher !== null && watcher !== process.pid && isAlive(watcher)) throw runsAlready(tree, watcher);
  const deadlineMs = Date.now() + ORPHANS_MS_MAX;
  let left = livingNodes(tree);
  if (left.length > 0)
    console.error(`Waiting for ${listed(left.map(({ id }) => id))} of an earlier run to end ..`);
  while (left.length > 0 && Date.now() < deadlineMs) {
    await sleep(POLL_MS);
    left = livingNodes(tree);
  }
  if (left.length > 0) throw nodesRunAlready(tree, left);
  for (const node of tree.layout.nodes) await checkPort(tree, node);
  try {
    if (tree.isNew) makeTree(tree);
    takePidFile(tree.dir);
  } catch (error) {
    throw unusable(tree.dir, error);
  }
}

type Living = { readonly id: string; readonly pid: number };

function livingNodes(tree: ClusterTree): Living[] {
  return tree.layout.nodes.flatMap((node) => {
    const pid = readPid(nodeDir(tree, node));
    return pid !== null && isNodeProcess(pid, node.id) ? [{ id: node.id, pid }] : [];
  });
}

function runsAlready(tree: ClusterTree, pid: number): CliError {
  return new CliError(
    EXIT.conflict,
    `This cluster runs already: process ${pid} watches ${shortPath(tree.dir)}.`,
    reachText(tree),
    `Stop it with: kill ${pid}\nFor another cluster beside it, give another --dir and --base-port.`,
  );
}

function nodesRunAlready(tree: ClusterTree, living: readonly Living[]): CliError {
  const names = listed(living.map(({ id, pid }) => `${id} (pid ${pid})`));
  return new CliError(
    EXIT.conflict,
    `${names} of this cluster ${living.length === 1 ? "runs" : "run"} already, without an \`up\`.`,
    reachText(tree),
    `Stop ${living.length === 1 ? "it" : "them"} with: kill ${living.map(({ pid }) => pid).join(" ")}`,
  );
}

function reachText(tree: ClusterTree): string {
  const port = tree.layout.nodes[0]?.port ?? 0;
  return `Talk to it with: ${ownCommandText()} repl -p ${port}`;
}

/** Listening there for a moment is the one sure test. */
function checkPort(tree: ClusterTree, node: NodeAddress): Promise<void> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once("error", (error) => reject(portError(tree, node, error)));
    server.listen(node.port, node.host, () => server.close(() => resolve()));
  });
}

function portError(tree: ClusterTree, { id, host, port }: NodeAddress, error: Error): CliError {
  const next = tree.isNew
    ? "Stop it, or choose other ports with --base-port."
    : "Stop it: the ports of a cluster are fixed when it is made. For another cluster give another --dir and --base-port.";
  if (codeOf(error) !== "EADDRINUSE") {
    return new CliError(EXIT.failed, `${id} cannot listen on ${host}:${port}.`, error.message, next);
  }
  const holder = listenerOf(port);
  const who = holder === null ? "another process (see who: ss -ltnp)" : `${holder.name} (pid ${holder.pid})`;
  return new CliError(EXIT.conflict, `Port ${port}, for ${id}, is taken.`, `${who} listens there.`, next);
}
