/** One service on one process of a LogWorld, asked and answered at once; time goes on when a test says so. */
import { utf8 } from "../../src/base/bytes.ts";
import { Prng } from "../../src/base/prng.ts";
import type { Backup } from "../../src/controlplane/backup.ts";
import type { FirstLayout } from "../../src/controlplane/requests.ts";
import { ControlService } from "../../src/controlplane/service.ts";
import type { MetaState } from "../../src/controlplane/state.ts";
import type { Hash64 } from "../../src/ring/circle.ts";
import type { GroupReport, Heard, HeartbeatReply } from "../../src/wire/control_plane.ts";
import type { ControlReply, ControlRequest } from "../../src/wire/control_request.ts";
import { NOTHING_HEARD, register } from "./bodies.ts";
import { CLUSTER, id } from "./driver.ts";
import { beat } from "./heard.ts";
import { LogWorld } from "./log_world.ts";
import { randomOf } from "./service_cluster.ts";

export type HttpReply = { status: number; type: string; text: string; json: Record<string, unknown> };

export class Desk {
  readonly world: LogWorld;
  readonly services: ControlService[];
  readonly said: string[] = [];

  constructor(
    h64: Hash64,
    firstLayout: FirstLayout | null = null,
    processes = 1,
    backup: Backup | null = null,
  ) {
    const random = Prng.fromSeed(5);
    this.world = new LogWorld(processes, random.fork("log"));
    const write = (_level: string, message: string, facts: object = {}): void =>
      void this.said.push(`${message} ${JSON.stringify(facts)}`);
    this.services = this.world.processes.map(
      (group, i) =>
        new ControlService({
          group,
          h64,
          random: randomOf(random.fork(`${i}`)),
          log: { write },
          bootstrapOf: ({ group: number }) => Uint8Array.of(number & 255),
          firstLayout,
          backup,
        }),
    );
  }

  get state(): MetaState {
    return this.world.state;
  }

  lead(at = 0): void {
    const process = this.world.processes[at];
    if (process === undefined) throw new Error("no such process");
    this.world.elect(process);
    this.services[at]?.onLeaderChange();
    this.run(1);
  }

  /** So many ticks of 10 ms. */
  run(ticks: number): void {
    for (let i = 0; i < ticks; i++) {
      for (const service of this.services) service.tick();
      this.world.step();
    }
  }

  /** The answer that is there after one step; null: none yet. */
  ask(request: ControlRequest, at = 0): ControlReply | null {
    const answers: ControlReply[] = [];
    this.services[at]?.onRequest(request, (reply) => void answers.push(reply));
    this.world.step();
    if (answers.length > 1) throw new Error("answered twice");
    return answers[0] ?? null;
  }

  register(
    node: string,
    incarnation = id(node),
    cluster: string | null = null,
    heard: Heard = NOTHING_HEARD,
  ): ControlReply | null {
    const { registration } = register(node, incarnation, heard);
    return this.ask({ kind: "register", cluster, registration });
  }

  beat(
    node: string,
    groups: readonly GroupReport[] = [],
    incarnation = id(node),
    heard: Heard = NOTHING_HEARD,
  ): HeartbeatReply {
    const heartbeat = { ...beat(node, groups, incarnation), heard };
    const reply = this.ask({ kind: "beat", heartbeat });
    if (reply?.kind !== "beat") throw new Error(`a heartbeat was answered with ${reply?.kind}`);
    return reply.reply;
  }

  /** Registered and alive. */
  join(...nodes: readonly string[]): void {
    for (const node of nodes) {
      this.register(node);
      this.beat(node);
    }
  }

  http(
    method: "GET" | "POST" | "PUT" | "HEAD" | "DELETE",
    path: string,
    body: unknown = null,
    at = 0,
  ): HttpReply {
    const text = typeof body === "string" ? body : body === null ? "" : JSON.stringify(body);
    const reply = this.ask({ kind: "http", method, path, body: utf8(text) }, at);
    if (reply?.kind !== "http") throw new Error(`an HTTP call was answered with ${reply?.kind}`);
    const answer = new TextDecoder().decode(reply.body);
    const json = reply.type.startsWith("application/json") ? JSON.parse(answer) : {};
    return { status: reply.status, type: reply.type, text: answer, json };
  }
}

export { CLUSTER, id };
