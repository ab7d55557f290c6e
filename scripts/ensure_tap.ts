/**
 * tap compiles its set of plugins into node_modules once, for the configuration in .taprc. After `npm ci` it
 * holds the default set, whose TypeScript plugin cannot load our tests: so it is built before the first run, and
 * again when .taprc changes.
 */
import { execFileSync } from "node:child_process";
import { existsSync, readFileSync, writeFileSync } from "node:fs";

const STAMP = "node_modules/.tap-built-for";

export function ensureTapBuilt(): void {
  const config = readFileSync(".taprc", "utf8");
  if (existsSync(STAMP) && readFileSync(STAMP, "utf8") === config) return;
  execFileSync("node_modules/.bin/tap", ["build"], { stdio: ["ignore", "ignore", "inherit"] });
  writeFileSync(STAMP, config);
}
