/**
 * The HTTP surface of the control plane (design section 10), without sockets: a call in, an answer out. It is reached at a
 * control process's own port, through any node's, and by `NUCLEUS CONTROL` over RESP; all three end here.
 *
 *     GET    /cluster/map /cluster/live /cluster/desired /cluster/backup /reshard/plan /reshard/status /shard /settings /events
 *     POST   /cluster/init /cluster/desired /reshard/plan /reshard/cutover /reshard/cancel
 *            /shard/add /shard/remove /shard/declare-lost /node /settings /register /heartbeat
 *     GET    /health /livez /readyz /metrics       answered by every control process, leading or not
 *
 * A GET shows at least all that was acknowledged before it. A POST is answered when its command is applied; with
 * `?request=<32 hex digits>` it may be sent twice and is carried out once.
 */
import { codeOf, messageOf, NucleusError } from "../base/errors.ts";
import { elsewhere, type HttpAnswer, type HttpCall, json, problem, refusal } from "./http_answer.ts";
import { AGAIN, type Context, READS, type Route, WRITES } from "./http_routes.ts";
import { eventText, health, metrics, ready } from "./http_status.ts";
import type { ControlService } from "./service.ts";

export type { HttpAnswer, HttpCall } from "./http_answer.ts";

type Answered = (answer: HttpAnswer) => void;

const EVERYWHERE: Readonly<Record<string, (service: ControlService) => HttpAnswer>> = {
  "/health": health,
  "/livez": () => json({ ok: true }),
  "/readyz": ready,
  "/ready": ready,
  "/metrics": metrics,
};

const REQUEST = /(?:^|&)request=([0-9a-f]{32})(?:&|$)/;

export function handleHttp(service: ControlService, call: HttpCall, reply: Answered): void {
  const method = call.method === "HEAD" ? "GET" : call.method;
  const everywhere = EVERYWHERE[call.path];
  const [read, write] = [READS.get(call.path), WRITES.get(call.path)];
  if (everywhere === undefined && read === undefined && write === undefined && call.path !== "/events")
    return reply(unknownPath(call.path));
  if (method === "GET" && everywhere !== undefined) return reply(everywhere(service));
  if (service.restoreProgress !== null && service.leads)
    return reply(problem(503, "restoring", `it is being restored: ${service.restoreProgress}`));
  if (service.reign === null) return reply(elsewhere(service.leaderAddress));
  if (method === "GET" && call.path === "/events") return reply(eventText(service));
  const route = method === "GET" ? read : method === "POST" || method === "PUT" ? write : undefined;
  if (route === undefined) return reply(otherMethod(call, read, write));
  if (route === read) return answerRead(service, call, route, reply);
  run(service, call, route, reply);
}

/** After a round of the group: what is shown is not older than what anybody was told. */
function answerRead(service: ControlService, call: HttpCall, route: Route, reply: Answered): void {
  service.read((state) => {
    if (state === null) reply(elsewhere(service.leaderAddress));
    else run(service, call, route, reply);
  });
}

function run(service: ControlService, call: HttpCall, route: Route, reply: Answered): void {
  const { reign } = service;
  if (reign === null) return reply(elsewhere(service.leaderAddress));
  const request = REQUEST.exec(call.query)?.[1] ?? null;
  const { state } = reign;
  const known = request === null ? undefined : state.requests.get(request);
  if (known?.ok === false) return reply(refusal(known.error));
  const context: Context = { service, reign, state, call, request, reply };
  try {
    const again = known === undefined ? undefined : AGAIN.get(call.path);
    if (known?.ok === true && again !== undefined) reply(json(again(context, known.number)));
    else route(context);
  } catch (error) {
    if (!(error instanceof NucleusError)) throw error;
    reply(problem(400, codeOf(error) === "EREQUEST" ? "request" : "invalid", messageOf(error)));
  }
}

function unknownPath(path: string): HttpAnswer {
  const known = [...new Set([...READS.keys(), ...WRITES.keys(), ...Object.keys(EVERYWHERE), "/events"])];
  return problem(404, "notfound", `there is no ${path} here; there are ${known.sort().join(" ")}`);
}

function otherMethod({ method, path }: HttpCall, read?: Route, write?: Route): HttpAnswer {
  const by = [...(read === undefined ? [] : ["GET"]), ...(write === undefined ? [] : ["POST"])].join(" and ");
  return problem(405, "method", `${path} takes ${by === "" ? "GET" : by}, not ${method}`);
}
