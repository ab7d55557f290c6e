/**
 * A cluster for the console to show: the real service of the control plane, answering HTTP, over model nodes that beat,
 * lead, move slots and fall silent. The nodes' figures (keys, load, lag, progress of moves) are made up here.
 */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { CONSOLE_HTML, CONSOLE_POLICY } from "../../src/console/page.ts";
import type { Hash64 } from "../../src/ring/circle.ts";
import type { GroupReport, Heartbeat } from "../../src/wire/control_plane.ts";
import type { ModelNode } from "../controlplane/model_cluster.ts";
import { ServiceCluster } from "../controlplane/service_cluster.ts";

const KEYS_PER_SLOT = 61;
const KEY_BYTES = 212;

export class ConsoleWorld extends ServiceCluster {
  /** Steps for which each attempt of a move was seen. */
  readonly #seenMoves = new Map<number, number>();
  readonly #server: Server;
  readonly #streams = new Set<ServerResponse>();
  #steps = 0;

  constructor(seed: number, nodes: number, h64: Hash64) {
    super(seed, nodes, 1, h64, null);
    // Of model groups only what makes moves fail by itself has this chance: here they last until somebody ends them.
    const chance = this.random.chance.bind(this.random);
    this.random.chance = (part, of) => of !== 12 && chance(part, of);
    this.#server = createServer((request, response) => this.#answer(request, response));
  }

  protected override beatOf(node: ModelNode): Heartbeat {
    const beat = super.beatOf(node);
    const place = Number(node.id.slice(1));
    const groups = beat.groups.map((report) => this.#withFigures(report, place));
    const leads = groups.filter(({ lead }) => lead !== null).length;
    const wave = Math.round(900 * Math.sin(this.#steps / 9 + place)) + this.random.below(400);
    const load = {
      commandsPerSecond: leads * 5200 + 2000 + wave,
      bytes: groups.reduce((sum, { bytes }) => sum + bytes, 0),
      diskFreeBytes: (40 + place) * 2 ** 30,
    };
    return { ...beat, load, groups };
  }

  #withFigures(report: GroupReport, place: number): GroupReport {
    const slots = this.groups.get(report.group)?.slots.size ?? 0;
    const keys = slots * KEYS_PER_SLOT;
    const applied = 5000 + this.#steps * 40 - (report.lead === null ? place * 3 : 0);
    const lead =
      report.lead === null
        ? null
        : {
            ...report.lead,
            moves: report.lead.moves.map((move) => {
              const seen = (this.#seenMoves.get(move.epoch) ?? 0) + 1;
              this.#seenMoves.set(move.epoch, seen);
              const keysTotal = 256 * KEYS_PER_SLOT;
              const done = Math.min(keysTotal, seen * 137);
              const record =
                move.record === null
                  ? null
                  : { ...move.record, keys: keysTotal, bytes: keysTotal * KEY_BYTES, pauseMs: 3 };
              return { ...move, keys: done, keysTotal, bytes: done * KEY_BYTES, record };
            }),
          };
    return { ...report, applied, keys, bytes: keys * KEY_BYTES, lead };
  }

  /** So many quarters of a second; then everybody who looks is told. */
  advance(steps: number): void {
    for (let i = 0; i < steps; i++) {
      this.#steps++;
      this.step();
    }
    for (const response of this.#streams) this.#tell(response);
  }

  // ------------------------------------------------------------------------------------------- served

  /** The address it is served at. */
  open(port = 0): Promise<string> {
    return new Promise((resolve) => {
      this.#server.listen(port, "127.0.0.1", () => {
        resolve(`http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`);
      });
    });
  }

  shut(): Promise<void> {
    return new Promise((resolve) => {
      this.#server.close(() => resolve());
      this.#server.closeAllConnections();
    });
  }

  #answer({ url = "/" }: IncomingMessage, response: ServerResponse): void {
    if (url === "/") {
      const headers = {
        "content-type": "text/html; charset=utf-8",
        "content-security-policy": CONSOLE_POLICY,
      };
      response.writeHead(200, headers).end(CONSOLE_HTML);
      return;
    }
    if (url === "/events") {
      response.writeHead(200, { "content-type": "text/event-stream; charset=utf-8" });
      this.#streams.add(response);
      response.on("close", () => this.#streams.delete(response));
      return this.#tell(response);
    }
    this.#ask(url, (status, type, text) => response.writeHead(status, { "content-type": type }).end(text));
  }

  #tell(response: ServerResponse): void {
    this.#ask("/events", (_status, _type, text) => void response.write(text));
  }

  #ask(path: string, then: (status: number, type: string, text: string) => void): void {
    const body = new Uint8Array(0);
    this.services[0]?.onRequest({ kind: "http", method: "GET", path, body }, (reply) => {
      if (reply.kind === "http") then(reply.status, reply.type, new TextDecoder().decode(reply.body));
    });
  }
}
