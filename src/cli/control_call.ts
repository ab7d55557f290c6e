/**
 * What a verb asks of the control plane. It is asked by way of any node: `NUCLEUS CONTROL <method> <path> [json]` over
 * RESP, answered by an HTTP status and a body (controlplane/service_http.ts), and that becomes a result or a CliError.
 *
 *     2xx the body    400, 405 wrong usage    404 not found    409 conflict    429, 503 unavailable
 *
 * A call is made again for a while if nobody leads the control plane, or the connection breaks. That is harmless: a POST
 * carries a request id, by which it is carried out once. If its fate stays unknown, that is said (exit code 5); if nobody
 * could be asked at all, nothing was done (exit code 4).
 */
import { randomBytes } from "node:crypto";
import { performance } from "node:perf_hooks";
import { setTimeout as sleep } from "node:timers/promises";
import { fromUtf8 } from "../base/bytes.ts";
import { codeOf, messageOf } from "../base/errors.ts";
import type { Reply } from "../wire/resp_client_parse.ts";
import type { Address } from "./address.ts";
import { EXIT, type ExitCode, exitCodeOf, exitCodeOfReply } from "./exit_codes.ts";
import { Fields } from "./json_fields.ts";
import { CliError, listed, sentence } from "./output.ts";
import { RespConnection } from "./resp_connection.ts";
import { notReached } from "./status_command.ts";

export type ControlRequest = {
  readonly method: "GET" | "POST";
  /** With its query, if there is one. */
  readonly path: string;
  readonly body?: object;
};

/** The cluster's nodes run by a layout file: there is nobody to ask. */
export class NoControlPlane extends CliError {
  constructor(why: string) {
    const next =
      "It works in a cluster of `nucleus control` and nodes with --control; `nucleus up` makes one.";
    super(EXIT.failed, "This cluster has no control plane.", sentence(why), next);
  }
}

/** An election in the control plane takes about a second, and nodes notice within another. */
const TRY_MS_MAX = 8000;
/** A new leader of the control plane calls a node dead that it has not heard for ten seconds; then its answer changes. */
const SOON_MS_MAX = 15_000;
const PAUSE_MS = 250;
const ANSWER_MS_MAX = 5000;

export async function askControl(address: Address, request: ControlRequest): Promise<Fields> {
  // What was never sent was certainly not done: a change is sent only when somebody is there to take it.
  if (request.method === "POST") await askAgain(address, { method: "GET", path: "/livez" });
  return askAgain(address, request);
}

async function askAgain(address: Address, request: ControlRequest): Promise<Fields> {
  const words = wordsOf(request, randomBytes(16).toString("hex"));
  const endMs = performance.now() + TRY_MS_MAX;
  let isUnknown = false;
  let said = "";
  for (;;) {
    const answer = await attempt(address, words);
    if (answer instanceof Fields) return answer;
    const { error, isSent } = answer;
    isUnknown ||= isSent && request.method === "POST";
    if (!answer.isPassing) throw isUnknown ? unknownOutcome(error) : error;
    const nowMs = performance.now();
    if (nowMs > (answer.isSoon ? endMs + SOON_MS_MAX - TRY_MS_MAX : endMs))
      throw isUnknown ? unknownOutcome(error) : error;
    if (answer.isSoon && error.message !== said) console.error(waitText(error.message));
    if (answer.isSoon) said = error.message;
    await sleep(PAUSE_MS);
  }
}

/** As long as a person who only wants to know how things are may be kept waiting. */
const NOTE_MS_MAX = 1000;

/** "" if the control plane answers, or there is none; else what that means. */
export async function controlNote(address: Address): Promise<string> {
  const words = ["NUCLEUS", "CONTROL", "GET", "/health"];
  let connection: RespConnection | null = null;
  try {
    connection = await RespConnection.open(address, NOTE_MS_MAX);
    const answer = readAnswer(await connection.call(words, NOTE_MS_MAX));
    return answer instanceof Fields ? restoreNote(answer) : `${SILENT} ${WITHOUT_IT}`;
  } catch (error) {
    if (error instanceof NoControlPlane || codeOf(error) === "ECONNECT") return "";
    return `${SILENT} ${WITHOUT_IT}`;
  } finally {
    connection?.close();
  }
}

function restoreNote(health: Fields): string {
  const waitsFor = health.has("waitingFor") ? health.texts("waitingFor") : [];
  if (waitsFor.length === 0) return "";
  const who = listed(waitsFor);
  return `The control plane was restored, and changes nothing before it has heard ${who}. Start what is stopped, or say that it is gone: nucleus node exclude NODE`;
}

const SILENT = "The control plane does not answer.";

export function wordsOf({ method, path, body }: ControlRequest, id: string): string[] {
  const target = method === "POST" ? `${path}?request=${id}` : path;
  return ["NUCLEUS", "CONTROL", method, target, ...(body === undefined ? [] : [JSON.stringify(body)])];
}

/**
 * `isPassing`: asking again may help. `isSent`: it may have been carried out all the same. `isSoon`: the control plane says
 * that it will know more in some seconds; that is worth a line, as a person waits for it.
 */
type Failure = {
  readonly error: CliError;
  readonly isPassing: boolean;
  readonly isSent: boolean;
  readonly isSoon?: boolean;
};

function waitText(why: string): string {
  return `Not yet: ${why.replace(/\.$/, "")}. It is asked again for up to ${SOON_MS_MAX / 1000} s ..`;
}

async function attempt(address: Address, words: readonly string[]): Promise<Fields | Failure> {
  let connection: RespConnection;
  try {
    connection = await RespConnection.open(address);
  } catch (error) {
    const failed = notReached(error);
    if (codeOf(error) !== "ECLOSED") return { error: failed, isPassing: false, isSent: false };
    // A node that is just starting lets go of whoever comes too early; nothing was asked yet.
    const early = new CliError(EXIT.unavailable, failed.message, failed.why, failed.next);
    return { error: early, isPassing: true, isSent: false };
  }
  try {
    return readAnswer(await connection.call(words, ANSWER_MS_MAX));
  } catch (error) {
    if (error instanceof CliError) throw error;
    const failed = new CliError(exitCodeOf(error), sentence(messageOf(error)), "", "See: nucleus status");
    return { error: failed, isPassing: codeOf(error) === "ECLOSED", isSent: true };
  } finally {
    connection.close();
  }
}

/** What a node answered. Throws what asking again does not change. */
export function readAnswer(reply: Reply): Fields | Failure {
  if (reply.kind === "error") {
    const exitCode = exitCodeOfReply(reply.text);
    if (exitCode === EXIT.failed) throw new NoControlPlane(reply.text.replace(/^ERR /, ""));
    const isPassing = exitCode === EXIT.unavailable || exitCode === EXIT.unknownOutcome;
    // The node does not say whether the call had left it.
    return { error: new CliError(exitCode, SILENT, "", WITHOUT_IT), isPassing, isSent: true };
  }
  const [status, body] = reply.kind === "array" ? reply.items : [];
  if (status?.kind !== "integer" || (body?.kind !== "bulk" && body?.kind !== "verbatim"))
    return unusable("it is not a status and a text");
  return readStatus(Number(status.value), fromUtf8(body.bytes));
}

const WITHOUT_IT =
  "Reads and writes go on without it, changes wait. See that a majority of the control processes run.";

const EXIT_BY_STATUS: Readonly<Record<number, ExitCode>> = {
  400: EXIT.usage,
  404: EXIT.notFound,
  405: EXIT.usage,
  409: EXIT.conflict,
  429: EXIT.unavailable,
  503: EXIT.unavailable,
};

export function readStatus(status: number, text: string): Fields | Failure {
  let root: unknown;
  try {
    root = JSON.parse(text);
  } catch {
    unusable("it is not JSON");
  }
  const body = new Fields(root, unusable);
  if (status >= 200 && status < 300) return body;
  const word = body.has("error") ? body.text("error") : "";
  const what = body.has("message") ? body.text("message") : `the control plane answers with status ${status}`;
  const error = new CliError(EXIT_BY_STATUS[status] ?? EXIT.failed, sentence(what));
  if (status !== 503 && status !== 429) throw error;
  return { error, isPassing: true, isSent: word === "unknown", isSoon: word === "tryagain" };
}

function unknownOutcome(error: CliError): CliError {
  const next = "Look what there is (nucleus status, nucleus reshard status), then decide.";
  return new CliError(EXIT.unknownOutcome, "Whether it was taken is not known.", error.message, next);
}

function unusable(why: string): never {
  throw new CliError(EXIT.failed, `The control plane's answer cannot be used: ${why}.`);
}
