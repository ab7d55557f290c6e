/** Nothing that the documentation points to is missing. */
import { existsSync } from "node:fs";
import { dirname, join, normalize } from "node:path";
import t from "tap";
import { Page, pages } from "./markdown.ts";

t.test("links between pages lead to a file, and to a heading in it", async (t) => {
  const broken: string[] = [];
  let count = 0;
  for (const page of pages()) {
    for (const { target, line } of page.links()) {
      if (/^https?:/.test(target)) continue;
      count++;
      const [file = "", anchor = ""] = target.split("#");
      const path = file === "" ? page.path : normalize(join(dirname(page.path), file));
      if (!existsSync(path)) broken.push(`${page.path}:${line} ${target}: no such file`);
      else if (anchor !== "" && !new Page(path).anchors().includes(anchor))
        broken.push(`${page.path}:${line} ${target}: no such heading`);
    }
  }
  t.same(broken, []);
  t.ok(count > 20, "there are links to check");
});

/** Words that look like a path of this repository. */
const PATH = /^(?:src|test|testdata|bench|scripts|docs|\.ci)\/[\w./-]*\w$|^[\w-]+\.(?:sh|json)$/;

t.test("files that the pages name exist", async (t) => {
  const missing: string[] = [];
  let count = 0;
  for (const page of pages()) {
    for (const { target, line } of page.inlineCode()) {
      if (!PATH.test(target) || RUNTIME_FILES.has(target)) continue;
      count++;
      if (!existsSync(target)) missing.push(`${page.path}:${line} ${target}`);
    }
  }
  t.same(missing, []);
  t.ok(count > 20, "there are names to check");
});

/** Files of a running node, not of this repository. */
const RUNTIME_FILES: ReadonlySet<string> = new Set([
  "cluster.json",
  "layout.json",
  "node.json",
  "peers.json",
  "up.json",
]);
