/** The REPL without a person: one command, or lines from a pipe. The result is the exit code. */
import { concat, fromUtf8, utf8 } from "../base/bytes.ts";
import { codeOf, messageOf } from "../base/errors.ts";
import type { Reply } from "../wire/resp_client_parse.ts";
import { EXIT, type ExitCode, exitCodeOf, exitCodeOfReply } from "./exit_codes.ts";
import { CliError, type Paint, sentence } from "./output.ts";
import { runColon } from "./repl_colon.ts";
import type { LocalCluster } from "./repl_kill.ts";
import { failedCallText, type Session } from "./repl_session.ts";
import { splitLine } from "./repl_words.ts";
import { formatReply, type ReplyFormat } from "./reply_format.ts";
import type { Word } from "./resp_connection.ts";
import { notReached } from "./status_command.ts";

export type Printer = {
  readonly format: ReplyFormat;
  readonly paint: Paint;
  /** The nodes are children of this process. */
  readonly local: LocalCluster | null;
};

/** Commands from a pipe that may be under way at once: enough to fill a sync's batch, few enough to lose sight of. */
const LINES_OPEN_MAX = 128;
const NEWLINE = 0x0a;
const COLON = 0x3a;

export async function runOnce(session: Session, words: readonly Word[], printer: Printer): Promise<ExitCode> {
  const name = typeof words[0] === "string" ? words[0] : "";
  let reply: Reply;
  try {
    await session.connect();
  } catch (error) {
    throw notReached(error);
  }
  try {
    if (name.startsWith(":")) return await runColonOnce(session, name, words.slice(1), printer);
    reply = await session.call(words);
  } catch (error) {
    if (codeOf(error) === "ECONNECT") throw notReached(error);
    throw new CliError(exitCodeOf(error), sentence(failedCallText(error, words)));
  }
  return printReply(reply, printer, "");
}

async function runColonOnce(
  session: Session,
  name: string,
  words: readonly Word[],
  { paint, local }: Printer,
): Promise<ExitCode> {
  const bytes = words.map((word) => (typeof word === "string" ? utf8(word) : word));
  await session.learn();
  const say = (line: string): void => console.error(line);
  console.log(await runColon(name, bytes, { session, paint, say, local }));
  return EXIT.ok;
}

/** `where` stands before an error that goes to stderr. */
function printReply(reply: Reply, { format, paint }: Printer, where: string): ExitCode {
  if (reply.kind === "error" && format === "raw") console.error(`${where}${reply.text}`);
  else process.stdout.write(formatReply(reply, format, paint));
  return reply.kind === "error" ? exitCodeOfReply(reply.text) : EXIT.ok;
}

async function runColonLine(
  session: Session,
  words: readonly Uint8Array[],
  line: number,
  { paint, local }: Printer,
): Promise<ExitCode> {
  const [name = new Uint8Array(0), ...rest] = words;
  const say = (text: string): void => console.error(text);
  try {
    const context = { session, paint, say, local };
    console.log(await runColon(fromUtf8(name), rest, context));
    return EXIT.ok;
  } catch (error) {
    console.error(`line ${line}: ${messageOf(error)}`);
    return EXIT.failed;
  }
}

type Sent = { readonly line: number; readonly words: readonly Word[]; readonly reply: Promise<Reply> };

/** Stops at the first command that got no reply at all: what came of the later ones would be guesswork. */
export async function runLines(
  session: Session,
  input: AsyncIterable<Uint8Array>,
  printer: Printer,
): Promise<ExitCode> {
  try {
    await session.connect();
    await session.learn();
  } catch (error) {
    throw notReached(error);
  }
  const open: Sent[] = [];
  let first: ExitCode = EXIT.ok;
  let number = 0;
  const settle = async (openMax: number): Promise<void> => {
    while (open.length > openMax) {
      const code = await printNext(open, printer);
      if (first === EXIT.ok) first = code;
    }
  };
  for await (const line of linesOf(input)) {
    number++;
    const words = splitLine(line);
    if (words === null) {
      await settle(0);
      console.error(`line ${number}: the quotes do not match`);
      if (first === EXIT.ok) first = EXIT.usage;
    } else if (words[0]?.[0] === COLON) {
      await settle(0);
      const code = await runColonLine(session, words, number, printer);
      if (first === EXIT.ok) first = code;
    } else if (words.length > 0) {
      const reply = session.call(words);
      reply.catch(() => {}); // it is looked at when its turn comes
      open.push({ line: number, words, reply });
      await settle(LINES_OPEN_MAX);
    }
  }
  await settle(0);
  return first;
}

async function printNext(open: Sent[], printer: Printer): Promise<ExitCode> {
  const { line, words, reply } = open.shift() as Sent;
  try {
    return printReply(await reply, printer, `line ${line}: `);
  } catch (error) {
    const last = open.at(-1)?.line ?? line;
    const rest =
      last === line
        ? ""
        : `Lines ${line + 1} to ${last} were sent too; which of them took effect is not known.`;
    throw new CliError(
      exitCodeOf(error),
      `Line ${line}: ${failedCallText(error, words)}.`,
      rest,
      messageNext(error),
    );
  }
}

function messageNext(error: unknown): string {
  return codeOf(error) === "ECONNECT" ? notReached(error).next : "Later lines were not sent.";
}

async function* linesOf(input: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  let held: Uint8Array[] = [];
  for await (const chunk of input) {
    let start = 0;
    for (let end = chunk.indexOf(NEWLINE); end >= 0; end = chunk.indexOf(NEWLINE, start)) {
      yield concat([...held, chunk.subarray(start, end)]);
      held = [];
      start = end + 1;
    }
    if (start < chunk.length) held.push(chunk.slice(start));
  }
  if (held.length > 0) yield concat(held);
}
