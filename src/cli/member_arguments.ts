/** The words behind `nucleus` that start a process of a local cluster. */
import { join } from "node:path";
import { showAddress } from "./address.ts";
import {
  CLUSTER_FILE,
  type ClusterTree,
  controlsOf,
  isInBirth,
  isUnborn,
  LAYOUT_FILE,
  type Member,
  memberDir,
} from "./cluster_dir.ts";

/** At any start but the first. */
export function argumentsOf(tree: ClusterTree, member: Member): string[] {
  const { id, kind, http } = member;
  const common = [kind, "--id", id, "--listen", showAddress(member)];
  const dir = ["--dir", memberDir(tree, member)];
  if (tree.fixed !== null) return [...common, ...dir, "--layout", join(tree.dir, LAYOUT_FILE)];
  const own = [...common, ...(http === null ? [] : ["--http", http]), ...dir];
  const controls = controlsOf(tree);
  if (kind === "node") return [...own, "--control", controls.map(showAddress).join(",")];
  if (controls.length === 1) return own;
  return [...own, "--peers", controls.map((one) => `${one.id}=${showAddress(one)}`).join(",")];
}

/** With what belongs to the cluster's birth, if it is not over. */
export function argumentsAtStart(tree: ClusterTree, member: Member): string[] {
  const words = argumentsOf(tree, member);
  const init = isUnborn(tree, member);
  if (tree.fixed !== null) return init ? [...words, "--init"] : words;
  if (member.kind === "node" || !isInBirth(tree)) return words;
  const first = ["--cluster", join(tree.dir, CLUSTER_FILE)];
  return [...words, ...first, ...(init ? ["--init", "--cluster-id", tree.cluster] : [])];
}
