/**
 * The REPL's tie to the cluster: one connection, and the addresses of all nodes, so that it survives the death of
 * the node it talks to.
 *
 * A call whose connection breaks is made again, on another node, only if it changes nothing. Of a write it says
 * that the outcome is not known (NucleusError "ECLOSED" or "ETIMEOUT"): whether to repeat it is not ours to guess.
 */
import { codeOf, messageOf } from "../base/errors.ts";
import { argsOf } from "../wire/args.ts";
import { findCommand } from "../wire/command_table.ts";
import type { Reply } from "../wire/resp_client_parse.ts";
import { type Address, readAddress, showAddress } from "./address.ts";
import { askOver, type ClusterView, viewCluster } from "./cluster_view.ts";
import { RespConnection, type Word } from "./resp_connection.ts";

/** A server answers within 2.5 s even without a leader; only one that hangs takes longer. */
const CALL_MS_MAX = 30_000;

export class Session {
  /** The node that is talked to, or was last. */
  address: Address;
  /** Tells the person that it now talks to another node. */
  onMoved: ((from: Address, to: Address) => void) | null = null;
  #connection: RespConnection | null = null;
  /** A connection that is being made; who comes meanwhile waits for the same one. */
  #connecting: Promise<RespConnection> | null = null;
  #known: readonly Address[] = [];

  constructor(address: Address) {
    this.address = address;
  }

  get connected(): boolean {
    return this.#connection !== null && !this.#connection.closed;
  }

  /** The connection, made again if it is gone: to the same node, else to any other of the cluster. */
  connect(): Promise<RespConnection> {
    if (this.#connection !== null && !this.#connection.closed) return Promise.resolve(this.#connection);
    this.#connecting ??= this.#dialAll().finally(() => {
      this.#connecting = null;
    });
    return this.#connecting;
  }

  async #dialAll(): Promise<RespConnection> {
    const from = this.address;
    let refusal: unknown;
    for (const address of [from, ...this.#known.filter((other) => !sameAddress(other, from))]) {
      try {
        this.#connection = await RespConnection.open(address);
      } catch (error) {
        refusal ??= error;
        continue;
      }
      this.address = address;
      if (!sameAddress(from, address)) this.onMoved?.(from, address);
      return this.#connection;
    }
    throw refusal;
  }

  /** Learns where the other nodes are. A server that is not Nucleus has none, which is no failure. */
  async learn(): Promise<void> {
    const report = await askOver(await this.connect()).catch(() => null);
    if (report === null) return;
    this.#known = report.nodes.map(({ addr }) => readAddress(addr)).filter((address) => address !== null);
  }

  async call(words: readonly Word[]): Promise<Reply> {
    const connection = await this.connect();
    try {
      return await connection.call(words, CALL_MS_MAX);
    } catch (error) {
      if (codeOf(error) !== "ECLOSED" || !changesNothing(words)) throw error;
      return (await this.connect()).call(words, CALL_MS_MAX);
    }
  }

  /** What the whole cluster looks like now. */
  async view(): Promise<ClusterView> {
    await this.connect();
    return viewCluster(this.address);
  }

  /** Drops the connection; a call under way ends with "ECLOSED". */
  close(): void {
    this.#connection?.close();
    this.#connection = null;
  }
}

function sameAddress(a: Address, b: Address): boolean {
  return a.host === b.host && a.port === b.port;
}

/** True for a command that may be sent twice: unknown ones may not. */
export function changesNothing(words: readonly Word[]): boolean {
  const args = argsOf(words.slice(0, 1));
  const command = args.argCount === 0 ? null : findCommand(args.bytes, 0, args.bytes.length);
  return command !== null && (command.flags.includes("readonly") || command.op === null);
}

/** What to print for a call that got no reply. */
export function failedCallText(error: unknown, words: readonly Word[]): string {
  const code = codeOf(error);
  const lost = code === "ECLOSED" || code === "ETIMEOUT";
  if (!lost || changesNothing(words)) return messageOf(error);
  return `${messageOf(error)}; whether the command was carried out is not known: look before repeating it`;
}

export function showMove(from: Address, to: Address): string {
  return `${showAddress(from)} does not answer any more; now talking to ${showAddress(to)}.`;
}
