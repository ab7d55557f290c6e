/**
 * A backup becomes the state: it comes in parts, as an entry has no room for all of it, and counts when the last one is
 * there and all of it reads well. What was before is replaced; so that is done only where nothing was ever issued.
 */
import { concat } from "../base/bytes.ts";
import { readImage } from "./backup.ts";
import type { BodyOf } from "./commands.ts";
import { applyRestored } from "./node_transitions.ts";
import type { MetaState } from "./state.ts";
import { done, refused, type Step } from "./step.ts";

export function applyRestorePart(state: MetaState, body: BodyOf<"restorePart">): Step {
  const { token, part, parts } = body;
  if (token === state.restoreToken) return done(state, state.version.restore);
  if (state.layout !== null || state.shards.size > 0 || state.epoch > 0 || state.planNumber > 0)
    return refused(state, "CONFLICT this control plane has shards of its own: a backup needs a new one");
  const before = part > 0 && state.restoring?.token === token ? state.restoring.parts : [];
  if (part < before.length) return done(state, part + 1); // it came twice
  if (part > before.length) return refused(state, `TRYAGAIN part ${before.length} of the backup is the next`);
  // The bytes of a command are borrowed.
  const all = [...before, body.bytes.slice()];
  if (all.length < parts) return done({ ...state, restoring: { token, parts: all } }, all.length);
  return whole(state, token, concat(all));
}

function whole(state: MetaState, token: string, image: Uint8Array): Step {
  const read = readImage(image);
  if (typeof read === "string") return refused(state, `INVALID the backup cannot be read: ${read}`);
  if (read.cluster !== state.cluster)
    return refused(state, `INVALID the backup is of cluster ${read.cluster}, not of ${state.cluster}`);
  // Nodes may have registered here already, and have raised the number.
  const restore = Math.max(read.version.restore, state.version.restore);
  return applyRestored({ ...read, version: { ...read.version, restore } }, token);
}
