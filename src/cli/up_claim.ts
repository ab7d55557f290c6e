/**
 * Before `up` starts anything: nobody else runs this cluster, nobody sits on its ports, and then its directory is
 * this process's. Until that is sure nothing is written, so a refusal leaves nothing behind.
 */
import { createServer } from "node:net";
import { performance } from "node:perf_hooks";
import { setTimeout as sleep } from "node:timers/promises";
import { codeOf } from "../base/errors.ts";
import { readAddress } from "./address.ts";
import { type ClusterTree, type Member, makeTree, memberDir, nodesOf, unusable } from "./cluster_dir.ts";
import { EXIT } from "./exit_codes.ts";
import { isOwnProcess, listenerOf } from "./local_process.ts";
import { CliError, listed } from "./output.ts";
import { ownCommandText, shortPath } from "./own_command.ts";
import { isAlive, readPid, takePidFile } from "./pid_file.ts";

/** Processes whose `up` was killed end by themselves; this is how long they get. */
const ORPHANS_MS_MAX = 5000;
const POLL_MS = 50;

/** Makes sure that nobody else runs this cluster or sits on its ports, and takes the directory. */
export async function claim(tree: ClusterTree): Promise<void> {
  const watcher = readPid(tree.dir);
  if (watcher !== null && watcher !== process.pid && isAlive(watcher)) throw runsAlready(tree, watcher);
  const deadlineMs = performance.now() + ORPHANS_MS_MAX;
  let left = livingMembers(tree);
  if (left.length > 0)
    console.error(`Waiting for ${listed(left.map(({ id }) => id))} of an earlier run to end ..`);
  while (left.length > 0 && performance.now() < deadlineMs) {
    await sleep(POLL_MS);
    left = livingMembers(tree);
  }
  if (left.length > 0) throw membersRunAlready(tree, left);
  for (const member of tree.members) {
    await checkPort(tree, member);
    const http = member.http === null ? null : readAddress(member.http);
    if (http !== null) await checkPort(tree, { id: member.id, ...http });
  }
  try {
    if (tree.isNew || tree.isGrown) makeTree(tree);
    takePidFile(tree.dir);
  } catch (error) {
    throw unusable(tree.dir, error);
  }
}

type Living = { readonly id: string; readonly pid: number };

function livingMembers(tree: ClusterTree): Living[] {
  return tree.members.flatMap((member) => {
    const pid = readPid(memberDir(tree, member));
    return pid !== null && isOwnProcess(pid, member.id, member.kind) ? [{ id: member.id, pid }] : [];
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

function membersRunAlready(tree: ClusterTree, living: readonly Living[]): CliError {
  const names = listed(living.map(({ id, pid }) => `${id} (pid ${pid})`));
  return new CliError(
    EXIT.conflict,
    `${names} of this cluster ${living.length === 1 ? "runs" : "run"} already, without an \`up\`.`,
    reachText(tree),
    `Stop ${living.length === 1 ? "it" : "them"} with: kill ${living.map(({ pid }) => pid).join(" ")}`,
  );
}

function reachText(tree: ClusterTree): string {
  const port = nodesOf(tree)[0]?.port ?? 0;
  return `Talk to it with: ${ownCommandText()} repl -p ${port}`;
}

type Place = Pick<Member, "id" | "host" | "port">;

/** Listening there for a moment is the one sure test. */
function checkPort(tree: ClusterTree, place: Place): Promise<void> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once("error", (error) => reject(portError(tree, place, error)));
    server.listen(place.port, place.host, () => server.close(() => resolve()));
  });
}

function portError(tree: ClusterTree, { id, host, port }: Place, error: Error): CliError {
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
