/**
 * The rules of the source tree, as data. `judge.ts` applies them; nothing else knows a room by name.
 * To allow something new, change a line here and say in the commit why the room may know it.
 */

/** What a room may import: a whole room, or part of one. */
export type Allowance = {
  readonly room: string;
  /** Only `import type`: the room knows the shapes, and calls nothing. */
  readonly typesOnly?: true;
  /** Only files of that room whose path inside it matches. */
  readonly files?: RegExp;
};

const whole = (...rooms: readonly string[]): Allowance[] => rooms.map((room) => ({ room }));

/** Every room under src/, lowest first. A room not listed here may not exist. */
export const ROOMS: Readonly<Record<string, readonly Allowance[]>> = {
  base: [],
  platform: whole("base"),
  ring: whole("base"),
  raft: whole("base"),
  // raft/types.ts holds the words that logs, frames and replicas share (index, term, entry kinds); no behaviour.
  wire: [...whole("base"), { room: "raft", files: /^types\.ts$/ }],
  wal: [
    ...whole("base"),
    { room: "platform", typesOnly: true },
    { room: "raft", typesOnly: true, files: /^types\.ts$/ },
    { room: "wire", files: /^batch\.ts$/ },
  ],
  store: [
    ...whole("base", "ring"),
    { room: "raft", typesOnly: true, files: /^types\.ts$/ },
    // Frames and replies, and the words both doors and store answer with: decimals and error texts.
    {
      room: "wire",
      files: /^(batch|command\w*|move_entry|move_identity|reply|native_reply|decimal|error_text)\.ts$/,
    },
  ],
  client: whole("base", "wire", "ring", "platform"),
  console: [],
  server: whole("base", "platform", "ring", "raft", "wire", "wal", "store", "console"),
  controlplane: [
    ...whole("base", "platform", "ring", "raft", "wire", "wal", "store", "console"),
    // What drives its own group, which is what drives any shard's; and how doors tell who calls.
    {
      room: "server",
      files:
        /^(group\w*|engine|birth|bootstrap|bundle|fate|http_request|console_page|identity|lane|layout|output)\.ts$/,
    },
  ],
  sim: whole(
    "base",
    "platform",
    "ring",
    "raft",
    "wire",
    "wal",
    "store",
    "client",
    "console",
    "server",
    "controlplane",
  ),
  cli: whole(
    "base",
    "platform",
    "ring",
    "raft",
    "wire",
    "wal",
    "store",
    "client",
    "console",
    "server",
    "controlplane",
    "sim",
  ),
};

/** Which rooms may use which package at run time. A package that is not listed is used nowhere. */
export const PACKAGES: Readonly<Record<string, readonly string[]>> = {
  "@msgpack/msgpack": ["wire"],
  "xxhash-wasm": ["client", "sim", "cli"],
  yargs: ["cli"],
};

/** Files that may import modules of the runtime (`node:..`): which file, and which modules ("*" = any). */
export const BUILTINS: readonly { readonly file: RegExp; readonly modules: readonly string[] }[] = [
  { file: /^src\/base\/checksum\.ts$/, modules: ["node:zlib"] },
  { file: /^src\/platform\/node\w*\.ts$/, modules: ["*"] },
  { file: /^src\/cli\//, modules: ["*"] },
];

/** The real clock, disk and sockets enter the program in these two files and nowhere else. */
export const REAL_PLATFORM = "src/platform/node.ts";
export const REAL_PLATFORM_BUILDERS: readonly string[] = ["src/cli/main.ts", "src/client/index.ts"];

/** Rooms that compute only: the same inputs give the same outputs on every engine, in every order of events. */
export const PURE = /^src\/(base|ring|raft|wire|store|wal|console)\//;
/** Rooms that act, but only through a Platform given to them, so that the simulator can hold the clock. */
export const STEERED = /^src\/((server|controlplane|client|sim)\/|platform\/(?!node))/;

/** Time, chance and the outer world: forbidden wherever a Platform stands in for them. */
export const WORLD_NAMES: readonly string[] = [
  "Date",
  "Math.random",
  "Temporal",
  "performance",
  "setTimeout",
  "setInterval",
  "setImmediate",
  "clearTimeout",
  "clearInterval",
  "clearImmediate",
  "queueMicrotask",
  "process",
  "console",
  "crypto",
  "fetch",
  "WebSocket",
  "Worker",
  "WeakRef",
  "FinalizationRegistry",
  "globalThis",
  "require",
  "eval",
  "Function",
  "import.meta",
];

/** Forbidden in pure rooms besides: what brings its own order of execution, or differs between engines. */
export const IMPURE_NAMES: readonly string[] = [
  "Promise",
  "async",
  "await",
  "Buffer",
  "Atomics",
  "SharedArrayBuffer",
  "Intl",
  ".localeCompare",
  ".toLocaleString",
  "Math.sin",
  "Math.cos",
  "Math.tan",
  "Math.asin",
  "Math.acos",
  "Math.atan",
  "Math.atan2",
  "Math.exp",
  "Math.expm1",
  "Math.log",
  "Math.log2",
  "Math.log10",
  "Math.log1p",
  "Math.pow",
  "Math.cbrt",
];

/** Forbidden in all of src/: one program runs on three runtimes through node:* alone. */
export const RUNTIME_NAMES: readonly string[] = ["Bun", "Deno"];

export const FILE_LINES_MAX = 500;
export const FUNCTION_LINES_MAX = 60;
