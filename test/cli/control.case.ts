/**
 * The verbs that go through the control plane, in golden scripts: the command line, what a control plane answers, then
 * what was asked of it and what was printed. A real server of RESP plays the node; nothing else is there.
 *
 *     > shard list                what is typed behind `nucleus`
 *     < 200 {"shards":[]}         the next answer to NUCLEUS CONTROL
 *     asked GET /shard            what was asked, with the request id left out
 *     ..                          what was printed; "! .." went to stderr
 *     exit 7                      unless it is 0
 */
import { readFileSync, writeFileSync } from "node:fs";
import t from "tap";
import yargs, { type Argv } from "yargs";
import { clusterCommand } from "../../src/cli/cluster_command.ts";
import { leaderCommand } from "../../src/cli/leader_command.ts";
import { nodeVerbs } from "../../src/cli/node_verbs.ts";
import { CliError, errorText, plain } from "../../src/cli/output.ts";
import { reshardCommand } from "../../src/cli/reshard_command.ts";
import { shardCommand } from "../../src/cli/shard_command.ts";
import { serve } from "./server.ts";

type Script = { readonly typed: string; readonly answers: readonly string[] };
const UPDATE = process.env.UPDATE === "1";

function scriptsOf(text: string): Script[] {
  const scripts: { typed: string; answers: string[] }[] = [];
  for (const line of text.split("\n")) {
    if (line.startsWith("> ")) scripts.push({ typed: line.slice(2), answers: [] });
    if (line.startsWith("< ")) scripts.at(-1)?.answers.push(line.slice(2));
  }
  return scripts;
}

/** One answer of the control plane as the node passes it on. "- .." is an error of the node itself. */
function encodeAnswer(answer: string): string {
  if (answer.startsWith("- ")) return `-${answer.slice(2)}\r\n`;
  const at = answer.indexOf(" ");
  const body = answer.slice(at + 1);
  return `*2\r\n:${answer.slice(0, at)}\r\n$${Buffer.byteLength(body)}\r\n${body}\r\n`;
}

const nodeCommand = {
  command: "node",
  describe: "",
  builder: (of: Argv) => nodeVerbs(of),
  handler: () => {},
};

async function run({ typed, answers }: Script): Promise<string[]> {
  const lines: string[] = [];
  const left = [...answers];
  const server = await serve((words, socket) => {
    if (words[0] === "HELLO") return void socket.write("%0\r\n");
    const [, , method, path = "", ...body] = words;
    // Before a change it is looked whether anybody is there.
    if (path === "/livez" && left[0]?.startsWith("- CLUSTERDOWN") !== true)
      return void socket.write(encodeAnswer('200 {"ok":true}'));
    lines.push(`asked ${[method, path.replace(/\?request=[0-9a-f]{32}$/, ""), ...body].join(" ")}`);
    socket.write(encodeAnswer(left.shift() ?? "- ERR the script has no further answer"));
  });
  const print =
    (mark: string) =>
    (text: string): void =>
      void lines.push(...text.split("\n").map((line) => `${mark}${line}`.trimEnd()));
  const { log, error } = console;
  Object.assign(console, { log: print(""), error: print("! ") });
  let exit = 0;
  try {
    const words = typed.match(/'[^']*'|\S+/g)?.map((word) => word.replaceAll("'", "")) ?? [];
    const program = yargs([...words, "-p", String(server.port)]).exitProcess(false);
    program.command(clusterCommand).command(shardCommand).command(nodeCommand);
    program.command(reshardCommand).command(leaderCommand);
    program
      .fail(false)
      .strict()
      .detectLocale(false)
      .parserConfiguration({ "parse-positional-numbers": false });
    await program.parseAsync();
    exit = Number(process.exitCode ?? 0);
  } catch (thrown) {
    const failure = thrown instanceof CliError ? thrown : new CliError(2, (thrown as Error).message);
    print("! ")(errorText(failure, plain));
    exit = failure.exitCode;
  } finally {
    Object.assign(console, { log, error });
    process.exitCode = 0;
    await server.close();
  }
  if (left.length > 0) lines.push(`not asked for: ${left.join(" ")}`);
  return exit === 0 ? lines : [...lines, `exit ${exit}`];
}

function golden(name: string): void {
  const path = `testdata/cli/${name}`;
  const text = readFileSync(path, "utf8");
  const title = text.slice(2, text.indexOf("\n"));
  t.test(title, async (t) => {
    const blocks: string[] = [];
    for (const script of scriptsOf(text)) {
      const answers = script.answers.map((answer) => `< ${answer}`);
      blocks.push([`> ${script.typed}`, ...answers, ...(await run(script))].join("\n"));
    }
    const now = `# ${title}\n\n${blocks.join("\n\n")}\n`;
    if (!UPDATE) return t.equal(now, text, name);
    writeFileSync(path, now);
    return t.pass(`${name} is rewritten`);
  });
}

golden("control_shards.txt");
golden("control_nodes.txt");
golden("control_reshard.txt");
golden("control_refusals.txt");
