/** The node's facts and the text of INFO. Field names that Redis tools read are kept as Redis has them. */

export type NodeInfo = {
  readonly address: string;
  isLeader(): boolean;
  /** NUCLEUS STATUS: one JSON object. */
  json(): string;
  /** Body of the native hello's answer. */
  helloReply(wireVersion?: number): Uint8Array;
  /** Sections in order; values are printed as they are. */
  sections(): readonly (readonly [name: string, facts: readonly (readonly [string, string | number])[]])[];
};

/** `wanted` in small letters; none, or "default", "all", "everything" = every section. */
export function infoText(info: NodeInfo, wanted: readonly string[]): string {
  const all = wanted.length === 0 || wanted.some((name) => ["default", "all", "everything"].includes(name));
  const parts: string[] = [];
  for (const [name, facts] of info.sections()) {
    if (!all && !wanted.includes(name.toLowerCase())) continue;
    parts.push(`# ${name}\r\n${facts.map(([key, value]) => `${key}:${value}\r\n`).join("")}`);
  }
  return parts.join("\r\n");
}
