/** The REPL's own commands, as data: help, hints and completion read it here. */

export type ColonCommand = {
  readonly name: string;
  /** What follows the name, for people. */
  readonly usage: string;
  readonly summary: string;
};

export const COLON_COMMANDS: readonly ColonCommand[] = [
  { name: ":help", usage: "[command]", summary: "This list, or what one command does" },
  {
    name: ":shards",
    usage: "",
    summary: "Shards: leader, term, commit index, keys, how far each replica is",
  },
  { name: ":nodes", usage: "", summary: "Nodes: address, state, process, what they lead" },
  { name: ":explain", usage: "key", summary: "Where a key lives, and what a read and a write of it take" },
  {
    name: ":kill",
    usage: "leader [shard] | node",
    summary: "Kill a node's process while writing; measure the gap, check that nothing is lost",
  },
  { name: ":start", usage: "node", summary: "Start a dead node again (in the shell of `up --repl`)" },
  { name: ":time", usage: "", summary: "Print how long each command takes, or stop doing so" },
  { name: ":quit", usage: "", summary: "Leave (also: quit, exit, Ctrl-D)" },
];

/** Everything that can be typed, for completion. */
export function colonNames(): readonly string[] {
  return COLON_COMMANDS.map(({ name }) => name);
}
