/** Whether a heartbeat says anything that steps could follow from; load, counts and progress are not of that kind. */
import type { GroupReport, Heartbeat, LeadReport } from "../wire/control_plane.ts";

export function tellsNews(before: Heartbeat | null, next: Heartbeat): boolean {
  if (before === null || before.incarnation !== next.incarnation) return true;
  if (before.groups.length !== next.groups.length) return true;
  return next.groups.some((group, i) => differs(before.groups[i] as GroupReport, group));
}

function differs(a: GroupReport, b: GroupReport): boolean {
  if (a === b) return false; // as it was, by its very bytes (wire/beat.ts)
  if (a.group !== b.group || a.replica !== b.replica || a.quarantined !== b.quarantined) return true;
  if (a.lead === null || b.lead === null) return a.lead !== b.lead;
  return a.term !== b.term || leadDiffers(a.lead, b.lead);
}

function leadDiffers(a: LeadReport, b: LeadReport): boolean {
  if (a.configVersion !== b.configVersion || a.joint !== b.joint) return true;
  if (a.learners.length !== b.learners.length || a.slots.length !== b.slots.length) return true;
  if (a.moves.length !== b.moves.length) return true;
  return b.moves.some(({ epoch, side, phase }, i) => {
    const was = a.moves[i];
    return was === undefined || was.epoch !== epoch || was.side !== side || was.phase !== phase;
  });
}
