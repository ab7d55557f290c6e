/**
 * The directories of a simulated disk: names that programs see, names that survive, and the operations between.
 *
 * Creating, renaming and removing a name are operations of their own: none of them lasts before the directory
 * is synced (hazard D7), whatever was synced inside the file. A power failure keeps either a prefix of all
 * pending operations (a journaling file system) or any subset of them; a rename is atomic in both.
 */
import { NucleusError } from "../base/errors.ts";
import type { Prng } from "../base/prng.ts";
import { below } from "./chance.ts";
import { SimFile } from "./disk_file.ts";

export class SimDir {
  /** What programs see. */
  readonly names = new Map<string, SimFile | SimDir>();
  /** What survives for certain. */
  durable = new Map<string, SimFile | SimDir>();
}

type NameOperation = {
  readonly number: number;
  /** Where names change: the directory, and for a rename the other one (often the same). */
  readonly dirs: readonly SimDir[];
  /** Performs it on the surviving names. */
  readonly perform: () => void;
};

export class DirTree {
  readonly root = new SimDir();
  /** Rises whenever the names that survive may have changed. */
  durableVersion = 0;
  #pending: NameOperation[] = [];
  #operations = 0;
  #files = 0;

  /** A mark for `sync`: it covers the operations completed by now. */
  get mark(): number {
    return this.#operations;
  }

  dir(path: string): SimDir {
    const found = this.#find(path);
    if (found === undefined) throw absent(path);
    if (found instanceof SimFile) throw new NucleusError("ENOTDIR", `${path} is not a directory`);
    return found;
  }

  file(path: string): SimFile {
    const found = this.#find(path);
    if (found === undefined) throw absent(path);
    if (found instanceof SimDir) throw new NucleusError("EISDIR", `${path} is a directory`);
    return found;
  }

  create(path: string): SimFile {
    const [dir, name] = this.#place(path);
    if (dir.names.has(name)) throw new NucleusError("EEXIST", `${path} exists already`);
    const file = new SimFile(this.#files++);
    this.#link(dir, name, file);
    return file;
  }

  makeDir(path: string): void {
    let dir = this.root;
    for (const name of split(path)) {
      const next = dir.names.get(name);
      if (next instanceof SimFile) throw new NucleusError("ENOTDIR", `${name} in ${path} is a file`);
      if (next === undefined) this.#link(dir, name, new SimDir());
      dir = dir.names.get(name) as SimDir;
    }
  }

  rename(from: string, to: string): void {
    const [fromDir, fromName] = this.#place(from);
    const [toDir, toName] = this.#place(to);
    const moved = fromDir.names.get(fromName);
    if (moved === undefined) throw absent(from);
    if (toDir.names.get(toName) instanceof SimDir) throw new NucleusError("EISDIR", `${to} is a directory`);
    fromDir.names.delete(fromName);
    toDir.names.set(toName, moved);
    this.#queue([fromDir, toDir], () => {
      if (fromDir.durable.get(fromName) === moved) fromDir.durable.delete(fromName);
      toDir.durable.set(toName, moved);
    });
  }

  unlink(path: string): void {
    const [dir, name] = this.#place(path);
    const removed = dir.names.get(name);
    if (removed === undefined) throw absent(path);
    if (removed instanceof SimDir) throw new NucleusError("EISDIR", `${path} is a directory`);
    dir.names.delete(name);
    this.#queue([dir], () => {
      if (dir.durable.get(name) === removed) dir.durable.delete(name);
    });
  }

  /** The directory's operations completed before `mark` now last. */
  sync(dir: SimDir, mark: number): void {
    const left: NameOperation[] = [];
    for (const operation of this.#pending) {
      if (operation.number < mark && operation.dirs.includes(dir)) operation.perform();
      else left.push(operation);
    }
    if (left.length < this.#pending.length) this.durableVersion++;
    this.#pending = left;
  }

  /** Power is gone: some of the pending operations happened; what programs see from now on is what survived. */
  powerFailure(random: Prng): void {
    const keepAny = below(random, 2) === 0;
    const prefix = below(random, this.#pending.length + 1);
    this.#pending.forEach((operation, i) => {
      if (keepAny ? below(random, 2) === 0 : i < prefix) operation.perform();
    });
    this.#pending = [];
    this.durableVersion++;
    revive(this.root);
  }

  /** Every file that a program can reach, in the order of its path. */
  files(): { path: string; file: SimFile }[] {
    const found = walk(this.root, "", (dir) => dir.names);
    return found.sort((a, b) => (a.path < b.path ? -1 : 1));
  }

  /** Every file that is sure to be there after a power failure. */
  durableFiles(): { path: string; file: SimFile }[] {
    const found = walk(this.root, "", (dir) => dir.durable);
    return found.sort((a, b) => (a.path < b.path ? -1 : 1));
  }

  #link(dir: SimDir, name: string, node: SimFile | SimDir): void {
    dir.names.set(name, node);
    this.#queue([dir], () => dir.durable.set(name, node));
  }

  #queue(dirs: readonly SimDir[], perform: () => void): void {
    this.#pending.push({ number: this.#operations++, dirs, perform });
  }

  #place(path: string): [SimDir, string] {
    const names = split(path);
    const name = names.pop();
    if (name === undefined) throw new NucleusError("EINVAL", `${path} names no file`);
    return [this.dir(names.join("/")), name];
  }

  #find(path: string): SimFile | SimDir | undefined {
    let node: SimFile | SimDir | undefined = this.root;
    for (const name of split(path)) {
      if (!(node instanceof SimDir)) return undefined;
      node = node.names.get(name);
    }
    return node;
  }
}

function walk(
  dir: SimDir,
  path: string,
  names: (dir: SimDir) => Map<string, SimFile | SimDir>,
): { path: string; file: SimFile }[] {
  const found: { path: string; file: SimFile }[] = [];
  for (const [name, node] of names(dir)) {
    if (node instanceof SimDir) found.push(...walk(node, `${path}/${name}`, names));
    else found.push({ path: `${path}/${name}`, file: node });
  }
  return found;
}

function revive(dir: SimDir): void {
  dir.names.clear();
  for (const [name, node] of dir.durable) {
    dir.names.set(name, node);
    if (node instanceof SimDir) revive(node);
  }
}

function split(path: string): string[] {
  return path.split("/").filter((name) => name !== "" && name !== ".");
}

function absent(path: string): NucleusError {
  return new NucleusError("ENOENT", `${path} does not exist`);
}
