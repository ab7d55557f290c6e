/** The routes of the HTTP surface that only the leader answers (service_http.ts says what they are). */
import { NucleusError } from "../base/errors.ts";
import { chooseShardId } from "../ring/choose_id.ts";
import { type Heartbeat, heartbeat, type Registration, registration } from "../wire/control_plane.ts";
import { type Shape, ShapeError } from "../wire/msgpack.ts";
import { backupOf } from "./backup.ts";
import type { Body } from "./commands.ts";
import { bodyText, type HttpAnswer, type HttpCall, json, problem, queryHas, refusal } from "./http_answer.ts";
import { liveOf } from "./http_status.ts";
import { mapJson, reshardJson } from "./map.ts";
import { wantProblem } from "./membership.ts";
import { heldBy, planReport, takenReport } from "./plan_report.ts";
import { type Planned, planFirst, planNext } from "./planner.ts";
import type { Reign } from "./reign.ts";
import {
  type PlanRequest,
  parseDesired,
  parseFirstLayout,
  parseJson,
  parseLost,
  parseNode,
  parsePlan,
  parsePlanNumber,
  parseSettings,
  parseShardAdd,
  parseShardRemove,
  type ShardRequest,
} from "./requests.ts";
import type { ControlService, Outcome } from "./service.ts";
import { heardOf, type MetaState, ordered } from "./state.ts";
import { noShard } from "./step.ts";

export type Context = {
  readonly service: ControlService;
  readonly reign: Reign;
  /** Applied here when the route began. */
  readonly state: MetaState;
  readonly call: HttpCall;
  readonly request: string | null;
  readonly reply: (answer: HttpAnswer) => void;
};
/** Answers once, at once or later. Errors: NucleusError for a request that can never be so. */
export type Route = (context: Context) => void;

const shown = (show: (context: Context) => object): Route => {
  return (context) => context.reply(json(show(context)));
};

export const READS: ReadonlyMap<string, Route> = new Map([
  ["/cluster/map", shown(({ reign }) => mapJson(reign.map()))],
  ["/cluster/live", shown(({ service, reign, state }) => liveOf(service, reign, state))],
  ["/cluster/desired", shown(({ state }) => ({ shards: desiredOf(state) }))],
  ["/cluster/backup", shown(({ state }) => backupOf(state))],
  ["/reshard/plan", showPlan],
  ["/reshard/status", shown(({ reign, state }) => reshardJson(state, reign.view()))],
  ["/shard", shown(({ reign, state }) => ({ shards: shardsOf(state, reign) }))],
  ["/settings", shown(({ state }) => state.settings)],
]);

export const WRITES: ReadonlyMap<string, Route> = new Map([
  ["/cluster/init", makeFirst],
  ["/cluster/desired", changeDesired],
  ["/reshard/plan", (context) => carryOut(context, parsePlan(bodyText(context.call)))],
  ["/reshard/cutover", (context) => numbered(context, "cutover")],
  ["/reshard/cancel", (context) => numbered(context, "cancel")],
  ["/shard/add", addShard],
  ["/shard/remove", removeShard],
  ["/shard/declare-lost", declareLost],
  ["/node", changeNode],
  ["/settings", changeSettings],
  ["/register", register],
  ["/heartbeat", hear],
]);

type Again = (context: Context, number: number) => object;

/**
 * What was carried out before, under the same request id, in the words of the first answer, which got lost. Other routes
 * than these just run again: their commands are answered from memory.
 */
export const AGAIN: ReadonlyMap<string, Again> = new Map<string, Again>([
  [
    "/cluster/init",
    ({ state }, epoch) => {
      const shards = ordered(state.shards).map(({ id, replicas }) => ({ id, nodes: replicas }));
      return { epoch, shards };
    },
  ],
  ["/reshard/plan", planAgain],
  ["/shard/add", (context, number) => shardAgain(context, number, parseShardAdd(bodyText(context.call)).id)],
  [
    "/shard/remove",
    (context, number) => shardAgain(context, number, parseShardRemove(bodyText(context.call)).id),
  ],
]);

function planAgain({ state, reign }: Context, number: number): object {
  return { dryRun: false, ...takenReport(state, reign.view(), number) };
}

function shardAgain(context: Context, number: number, id: string | null): object {
  return { shard: id ?? context.state.plan?.added[0] ?? "", ...planAgain(context, number) };
}

/** Proposes, and answers an outcome that is none by itself. */
function propose({ service, request, reply }: Context, body: Body, done: (number: number) => void): void {
  service.propose(body, request, (outcome) => {
    const failed = failureOf(outcome);
    if (failed !== null) reply(failed);
    else if (typeof outcome !== "string" && outcome.ok) done(outcome.number);
  });
}

function failureOf(outcome: Outcome): HttpAnswer | null {
  if (outcome === "busy")
    return problem(429, "busy", "too many requests are under way at once: send this one again in a second");
  if (outcome === "unknown") {
    const text = "whether it was taken is not known, as leadership changed meanwhile: look, then ask again";
    return problem(503, "unknown", `${text} (with ?request=<32 hex digits> asking twice does it once)`);
  }
  return outcome.ok ? null : refusal(outcome.error);
}

// ------------------------------------------------------------------------------------------- layout and plans

function makeFirst(context: Context): void {
  const { state, reign, call, reply } = context;
  const wish = parseFirstLayout(bodyText(call));
  if (state.layout !== null) {
    const text = "the cluster has its first layout already: shard add and reshard plan change it";
    return reply(problem(409, "conflict", text));
  }
  const init = planFirst(reign.planning(), wish);
  if (typeof init === "string") return reply(refusal(init));
  propose(context, init, (epoch) => {
    const shards = init.shards.map(({ id, newborn }) => ({
      id,
      nodes: newborn?.founders.map(({ node }) => node),
    }));
    reply(json({ epoch, shards }));
  });
}

/** What there is, in the words in which the next one is asked for. */
function showPlan({ reign, state, call, reply }: Context): void {
  const { layout, plan, planNumber } = state;
  const shards = (layout?.shards ?? []).map(({ id, weight }) => ({
    id,
    weight,
    nodes: state.shards.get(id)?.replicas ?? [],
  }));
  const now = { epoch: planNumber, next: planNumber + 1, active: plan !== null, vnodes: layout?.vnodes ?? 0 };
  if (!queryHas(call, "dry-run")) return reply(json({ ...now, manual: plan?.manual ?? false, shards }));
  const wish = {
    epoch: planNumber + 1,
    vnodes: null,
    shards: layoutShards(state),
    manual: false,
    dryRun: true,
  };
  const planned = planNext(reign.planning(), wish);
  if (typeof planned === "string") return reply(refusal(planned));
  reply(json({ dryRun: true, ...planReport(state, reign.view(), planned) }));
}

/** Of those that can take part in a plan. */
function layoutShards(state: MetaState): ShardRequest[] {
  return (state.layout?.shards ?? [])
    .filter(({ id }) => state.shards.get(id)?.state !== "lost")
    .map(({ id, weight }) => ({ id, weight, nodes: null }));
}

function carryOut(context: Context, wish: PlanRequest, more: object = {}): void {
  const { state, reign, reply } = context;
  if (state.layout !== null && wish.epoch !== state.planNumber + 1) {
    const text = `the next plan has epoch ${state.planNumber + 1}, not ${wish.epoch}: look at what there is, then ask with that`;
    return reply(problem(409, "conflict", text, { epoch: state.planNumber }));
  }
  const planned = planNext(reign.planning(), wish);
  if (typeof planned === "string") return reply(refusal(planned));
  const report = { dryRun: wish.dryRun, ...more, ...planReport(state, reign.view(), planned) };
  if (wish.dryRun) return reply(json(report));
  propose(context, planned.plan, () => alsoDesired(context, planned, report));
}

/** Replicas of old shards that the same request wishes elsewhere: each a wish of its own, and refused by itself. */
function alsoDesired({ service, reply }: Context, { desired }: Planned, report: object): void {
  const refused: string[] = [];
  let left = desired.length;
  const end = (): void => reply(json(refused.length === 0 ? report : { ...report, refused }));
  if (left === 0) return end();
  for (const body of desired) {
    service.propose(body, null, (outcome) => {
      if (typeof outcome === "string") refused.push(outcome);
      else if (!outcome.ok) refused.push(outcome.error);
      if (--left === 0) end();
    });
  }
}

function addShard(context: Context): void {
  const { state, reign, call, reply } = context;
  const { id: named, weight, nodes, epoch, manual, dryRun } = parseShardAdd(bodyText(call));
  if (state.layout === null)
    return reply(refusal("CONFLICT there is no first layout yet: cluster init makes it"));
  if (named !== null && state.shards.has(named))
    return reply(refusal(`CONFLICT there is a shard '${named}' already: name another, or none`));
  const used = [...state.shards.keys(), ...state.retired.map(({ shard }) => shard)];
  const id = named ?? chooseShardId(state.layout, weight, used, reign.planning().h64).id;
  const shards = [...layoutShards(state), { id, weight, nodes }];
  const wish = { epoch: epoch ?? state.planNumber + 1, vnodes: null, shards, manual, dryRun };
  carryOut(context, wish, { shard: id });
}

function removeShard(context: Context): void {
  const { state, call, reply } = context;
  const { id, epoch, manual, dryRun } = parseShardRemove(bodyText(call));
  if (!state.shards.has(id)) return reply(refusal(noShard(id)));
  const shards = layoutShards(state).filter((shard) => shard.id !== id);
  if (shards.length === 0) return reply(refusal(`CONFLICT '${id}' is the only shard: add another first`));
  const wish = { epoch: epoch ?? state.planNumber + 1, vnodes: null, shards, manual, dryRun };
  carryOut(context, wish, { shard: id });
}

function numbered(context: Context, kind: "cutover" | "cancel"): void {
  const number = parsePlanNumber(bodyText(context.call));
  propose(context, { kind, number }, () => context.reply(json({ epoch: number })));
}

// ------------------------------------------------------------------------------------------- shards and nodes

function desiredOf(state: MetaState): object[] {
  return ordered(state.shards).map(({ id, replicas }) => ({ shard: id, nodes: replicas }));
}

function shardsOf(state: MetaState, reign: Reign): object[] {
  const view = reign.view();
  const slots = state.assignment.counts();
  const weights = new Map((state.layout?.shards ?? []).map(({ id, weight }) => [id, weight]));
  return ordered(state.shards).map((shard) => ({
    id: shard.id,
    group: shard.group,
    state: shard.state,
    weight: weights.get(shard.id) ?? 0,
    nodes: shard.replicas,
    leader: view.groups.get(shard.group)?.leader?.node ?? null,
    slots: slots.get(shard.id) ?? 0,
    keys: heldBy(state, view, shard.id).keys,
    bytes: heldBy(state, view, shard.id).bytes,
  }));
}

function changeDesired(context: Context): void {
  const { reign, call, reply } = context;
  const body: Body = { kind: "desired", expected: null, ...parseDesired(bodyText(call)) };
  propose(context, body, () => {
    const shard = reign.state.shards.get(body.shard);
    const lead = shard === undefined ? undefined : reign.view().groups.get(shard.group)?.leader?.lead;
    const nodes = shard?.replicas ?? [];
    const blocked = lead === undefined ? "no leader is known" : wantProblem(reign.view(), lead, nodes);
    reply(json({ shard: body.shard, nodes, blocked }));
  });
}

function declareLost(context: Context): void {
  const { state, reign, call, reply } = context;
  const id = parseLost(bodyText(call));
  const shard = state.shards.get(id);
  if (shard === undefined) return reply(refusal(noShard(id)));
  const view = reign.view();
  const leader = view.groups.get(shard.group)?.leader ?? null;
  if (leader !== null)
    return reply(refusal(`CONFLICT shard '${id}' is led by node '${leader.node}': it is not lost`));
  const [unheard] = shard.replicas.filter((node) => view.isUnheard(node));
  if (unheard !== undefined)
    return reply(
      refusal(
        `TRYAGAIN this control process leads only now and has not heard node '${unheard}' yet: it may lead`,
      ),
    );
  const slots = state.assignment.slotsOf(id);
  const { keys, bytes } = heldBy(state, view, id);
  propose(context, { kind: "lost", shard: id }, () =>
    reply(
      json({
        shard: id,
        slots,
        mayBeLost: { keys, bytes },
        note: "as last reported; what no other shard has is gone",
      }),
    ),
  );
}

function changeNode(context: Context): void {
  const { reign, call, reply } = context;
  const { node, action } = parseNode(bodyText(call));
  if (action === "remove" && reign.view().standing(node) === "alive" && reign.state.nodes.has(node))
    return reply(refusal(`CONFLICT node '${node}' is alive and would register anew: stop it first`));
  propose(context, { kind: "node", node, action }, () => {
    const now = reign.state.nodes.get(node);
    const holds = ordered(reign.state.shards).filter(({ replicas }) => replicas.includes(node));
    const { draining = false, excluded = false } = now ?? {};
    reply(json({ node, action, draining, excluded, shards: holds.map(({ id }) => id) }));
  });
}

function changeSettings(context: Context): void {
  const settings = parseSettings(bodyText(context.call), context.state.settings);
  propose(context, { kind: "settings", settings }, () => context.reply(json(settings)));
}

// ------------------------------------------------------------------------------------------- nodes' words, by hand

function register({ service, state, call, reply }: Context): void {
  const given = parseJson(bodyText(call));
  const heard = heardOf(state);
  const known: Registration = checked(registration, withDefaults(given, { zone: "", capacity: 100, heard }));
  service.onRequest({ kind: "register", cluster: null, registration: known }, (answer) => {
    if (answer.kind === "refused") reply(refusal(answer.text));
    else if (answer.kind === "registered") reply(json(answer));
    else reply(problem(503, "unknown", "leadership changed meanwhile: register again"));
  });
}

function hear({ reign, state, call, reply }: Context): void {
  const load = { commandsPerSecond: 0, bytes: 0, diskFreeBytes: 0 };
  const given = withDefaults(parseJson(bodyText(call)), { heard: heardOf(state), load, groups: [] });
  const beat: Heartbeat = checked(heartbeat, given);
  reply(json(reign.hear(beat)));
}

function withDefaults(given: unknown, defaults: object): unknown {
  return typeof given === "object" && given !== null ? { ...defaults, ...given } : given;
}

function checked<T>(shape: Shape<T>, value: unknown): T {
  const decoded = shape.decode(value, "the request");
  if (decoded instanceof ShapeError) throw new NucleusError("EREQUEST", `${decoded.reason} is expected`);
  return decoded;
}
