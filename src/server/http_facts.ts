/** What the HTTP door shows of its node: shards, leaders, figures. */

export type ShardFacts = {
  readonly id: string;
  /** Of this node's replica; "none" if it has none. */
  readonly role: string;
  readonly term: number;
  /** Null: nobody is known to lead. `http` is null if the leader's node did not say where it serves HTTP. */
  readonly leader: { readonly id: string; readonly http: string | null } | null;
  readonly commit: number;
  readonly applied: number;
  /** Since this follower last heard its leader; 0 at the leader itself. */
  readonly lastContactMs: number;
};

export type Metric = {
  readonly name: string;
  readonly kind: "counter" | "gauge";
  readonly help: string;
  readonly samples: readonly (readonly [labels: Readonly<Record<string, string>>, value: number])[];
};

export interface HttpFacts {
  readonly node: string;
  readonly version: string;
  /** Why this node holds no replica; null if it does, or needs none. */
  readonly waits: string | null;
  /** It has a map of the cluster, and can bring commands to other nodes. */
  readonly knowsCluster: boolean;
  /** Shards with a replica here. */
  shards(): readonly ShardFacts[];
  shardOf(slot: number): ShardFacts | null;
  metrics(): readonly Metric[];
}

/** The text format of Prometheus, version 0.0.4. */
export function metricsText(metrics: readonly Metric[]): string {
  const lines: string[] = [];
  for (const { name, kind, help, samples } of metrics) {
    lines.push(`# HELP ${name} ${help}`, `# TYPE ${name} ${kind}`);
    for (const [labels, value] of samples) {
      const pairs = Object.entries(labels).map(([label, text]) => `${label}="${escapeLabel(text)}"`);
      lines.push(`${name}${pairs.length === 0 ? "" : `{${pairs.join(",")}}`} ${value}`);
    }
  }
  return `${lines.join("\n")}\n`;
}

function escapeLabel(text: string): string {
  return text.replace(/[\\"\n]/g, (letter) => (letter === "\n" ? "\\n" : `\\${letter}`));
}
