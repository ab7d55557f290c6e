/** The tree keeps its own rules (rules.ts), and the judge that says so can say no (samples.case.ts). */
import { readFileSync } from "node:fs";
import t from "tap";
import { STORAGE_VERSION, WIRE_VERSION } from "../../src/base/version.ts";
import { VERSION } from "../../src/cli/version.ts";
import {
  type Exceptions,
  judgeImports,
  judgeLock,
  judgeNames,
  judgePins,
  judgeSizes,
  judgeText,
} from "./judge.ts";
import "./runner.case.ts";
import "./samples.case.ts";
import { scanProject } from "./scan.ts";

const root = process.cwd();
const read = (path: string): string => readFileSync(`${root}/${path}`, "utf8");

t.test("the source tree keeps its rules", async (t) => {
  const files = scanProject(root);
  t.ok(files.length > 10, "the scan sees the tree");
  t.same(files.flatMap(judgeImports), [], "rooms import only what the table allows");
  t.same(files.flatMap(judgeNames), [], "pure rooms compute, steered rooms act through a Platform");
  t.same(files.flatMap(judgeText), [], "nothing is left unfinished or silenced without a reason");
  const exceptions = JSON.parse(read("test/structure/exceptions.json")) as Exceptions;
  t.same(judgeSizes(files, exceptions), [], "files and functions are short, and the exceptions shrink");
});

t.test("the manifest installs the same program everywhere", async (t) => {
  const manifest = JSON.parse(read("package.json"));
  t.same(judgePins(manifest), [], "versions are exact");
  t.same(judgeLock(read("package-lock.json")), [], "the lock file names no host");
  t.equal(VERSION, manifest.version, "the program says the version of its package");
});

t.test("versions fit the one byte that carries them", async (t) => {
  for (const version of [WIRE_VERSION, STORAGE_VERSION]) {
    t.ok(Number.isInteger(version) && version > 0 && version < 256);
  }
});
