/** Applies `rules.ts` to the facts that `scan.ts` found. A verdict is one line: where, and what to do about it. */
import { posix } from "node:path";
import {
  BUILTINS,
  FILE_LINES_MAX,
  FUNCTION_LINES_MAX,
  IMPURE_NAMES,
  PACKAGES,
  PURE,
  REAL_PLATFORM,
  REAL_PLATFORM_BUILDERS,
  ROOMS,
  RUNTIME_NAMES,
  STEERED,
  WORLD_NAMES,
} from "./rules.ts";
import type { FileFacts, ImportFact } from "./scan.ts";

/** Files and functions that are longer than the limits, with their length: it may only fall. */
export type Exceptions = {
  readonly files: Readonly<Record<string, number>>;
  readonly functions: Readonly<Record<string, number>>;
};

export function judgeImports(file: FileFacts): string[] {
  const verdicts: string[] = [];
  for (const fact of file.imports) {
    const verdict = judgeImport(file.path, fact);
    if (verdict !== null) verdicts.push(`${file.path}:${fact.line} ${verdict}`);
  }
  if (file.path.startsWith("src/")) {
    for (const line of file.defaultExports) verdicts.push(`${file.path}:${line} no default exports: name it`);
  }
  return verdicts;
}

function judgeImport(path: string, { specifier, typesOnly }: ImportFact): string | null {
  const room = roomOf(path);
  if (specifier.startsWith(".")) {
    if (!/\.(ts|json)$/.test(specifier)) return `imports ${specifier}: say the file, with .ts`;
    if (room === null) return null;
    return judgeNeighbour(path, room, posix.join(posix.dirname(path), specifier), typesOnly);
  }
  if (room === null) return null;
  if (ROOMS[room] === undefined) return `room ${room} is not in the table of rules.ts`;
  if (specifier === "(computed)") return "imports a computed name: nobody can check that";
  if (specifier.startsWith("node:")) return judgeBuiltin(path, specifier);
  const rooms = PACKAGES[packageOf(specifier)];
  if (rooms === undefined) return `imports ${specifier}, which rules.ts does not list`;
  return rooms.includes(room) ? null : `imports ${specifier}, which only ${rooms.join(", ")} may`;
}

function judgeNeighbour(path: string, room: string, target: string, typesOnly: boolean): string | null {
  const allowances = ROOMS[room];
  if (allowances === undefined) return `room ${room} is not in the table of rules.ts`;
  if (target === REAL_PLATFORM && !typesOnly && !REAL_PLATFORM_BUILDERS.includes(path)) {
    return `builds the real platform, which only ${REAL_PLATFORM_BUILDERS.join(" and ")} may`;
  }
  const other = roomOf(target);
  if (other === null) return target === "package.json" ? null : `reaches out of src/, to ${target}`;
  if (other === room) return null;
  const inside = target.slice(`src/${other}/`.length);
  const candidates = allowances.filter((allowance) => allowance.room === other);
  if (candidates.length === 0) return `${room} may not import ${other} (${target})`;
  const fits = candidates.some(
    (allowance) => (allowance.files?.test(inside) ?? true) && (typesOnly || allowance.typesOnly !== true),
  );
  if (fits) return null;
  return `${room} may import only part of ${other}, or only its types: not ${target} like this`;
}

function judgeBuiltin(path: string, module: string): string | null {
  const allowed = BUILTINS.some(
    ({ file, modules }) => file.test(path) && (modules.includes("*") || modules.includes(module)),
  );
  return allowed ? null : `imports ${module}: the runtime is reached through a Platform`;
}

function roomOf(path: string): string | null {
  return /^src\/([^/]+)\//.exec(path)?.[1] ?? null;
}

function packageOf(specifier: string): string {
  return specifier.split("/", specifier.startsWith("@") ? 2 : 1).join("/");
}

export function judgeNames(file: FileFacts): string[] {
  const forbidden = new Map<string, string>();
  if (file.path.startsWith("src/")) for (const name of RUNTIME_NAMES) forbidden.set(name, "one runtime only");
  if (PURE.test(file.path) || STEERED.test(file.path)) {
    for (const name of WORLD_NAMES) forbidden.set(name, "the world comes in as a Platform");
  }
  if (PURE.test(file.path)) for (const name of IMPURE_NAMES) forbidden.set(name, "this room only computes");
  return file.names
    .filter(({ name }) => forbidden.has(name))
    .map(({ name, line }) => `${file.path}:${line} names ${name}: ${forbidden.get(name)}`);
}

const UNFINISHED = new RegExp(`\\b(${["TO" + "DO", "FIX" + "ME", "X".repeat(3)].join("|")})\\b`);
const SUPPRESSION = /biome-ignore(?:-\w+)?|@ts-(?:ignore|nocheck|expect-error)|eslint-disable/;
const SUPPRESSION_WITH_REASON = /(?:biome-ignore(?:-\w+)? [\w/]+|@ts-expect-error): \S.{8,}/;

export function judgeText(file: { path: string; text: string }): string[] {
  const verdicts: string[] = [];
  file.text.split("\n").forEach((line, i) => {
    const where = `${file.path}:${i + 1}`;
    if (UNFINISHED.test(line))
      verdicts.push(`${where} leaves a note of unfinished work: finish it or decide it`);
    if (SUPPRESSION.test(line) && /\/[/*]/.test(line) && !SUPPRESSION_WITH_REASON.test(line)) {
      verdicts.push(`${where} silences a checker without a reason`);
    }
  });
  return verdicts;
}

export function judgeSizes(files: readonly FileFacts[], exceptions: Exceptions): string[] {
  const fileLines = new Map(files.map((file) => [file.path, file.lineCount]));
  const functionLines = new Map<string, number>();
  for (const file of files) {
    for (const { name, lineCount } of file.functions) {
      const key = `${file.path} ${name}`;
      functionLines.set(key, Math.max(lineCount, functionLines.get(key) ?? 0));
    }
  }
  return [
    ...judgeLengths(fileLines, exceptions.files, FILE_LINES_MAX),
    ...judgeLengths(functionLines, exceptions.functions, FUNCTION_LINES_MAX),
  ];
}

function judgeLengths(
  actual: ReadonlyMap<string, number>,
  exceptions: Readonly<Record<string, number>>,
  linesMax: number,
): string[] {
  const verdicts: string[] = [];
  for (const [what, lineCount] of actual) {
    const limit = exceptions[what] ?? linesMax;
    if (lineCount > limit) verdicts.push(`${what} has ${lineCount} lines, over ${limit}: split it`);
  }
  for (const [what, limit] of Object.entries(exceptions)) {
    const lineCount = actual.get(what) ?? 0;
    if (lineCount <= linesMax) verdicts.push(`${what} needs no exception any more: remove it`);
    else if (lineCount < limit)
      verdicts.push(`${what} shrank to ${lineCount}: lower its exception from ${limit}`);
  }
  return verdicts;
}

type Lock = { packages: Record<string, { optionalDependencies?: Record<string, string> }> };

/**
 * A lock file that names a host installs from that host and from nowhere else. And it must know the optional
 * packages of every platform: where one is missing, `npm ci` refuses on all platforms. (`npm install` behind a
 * registry that lacks some of them leaves them out.)
 */
export function judgeLock(text: string): string[] {
  const verdicts: string[] = [];
  const walk = (value: unknown, path: string): void => {
    if (typeof value === "string") {
      if (/^(git|https?|ssh|file):|^git\+|^github:/.test(value))
        verdicts.push(`${path} names a host: ${value}`);
    } else if (typeof value === "object" && value !== null) {
      for (const [key, inner] of Object.entries(value)) {
        if (key === "resolved") verdicts.push(`${path} has a resolved address`);
        else if (key !== "funding") walk(inner, `${path}/${key}`);
      }
    }
  };
  const lock = JSON.parse(text) as Lock;
  walk(lock, "package-lock.json");
  const places = Object.keys(lock.packages);
  for (const [place, { optionalDependencies = {} }] of Object.entries(lock.packages)) {
    for (const name of Object.keys(optionalDependencies)) {
      if (!places.some((other) => other.endsWith(`node_modules/${name}`))) {
        verdicts.push(`${place} may need ${name}, which the lock file does not know`);
      }
    }
  }
  return verdicts;
}

/** Dependencies are pinned exactly: two installs of one commit are the same program. */
export function judgePins(manifest: {
  dependencies?: Record<string, string>;
  devDependencies?: Record<string, string>;
}): string[] {
  return Object.entries({ ...manifest.dependencies, ...manifest.devDependencies })
    .filter(([, version]) => !/^\d+\.\d+\.\d+(-[\w.]+)?$/.test(version))
    .map(([name, version]) => `package.json: ${name} is "${version}": pin one exact version`);
}
