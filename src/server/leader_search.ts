/**
 * Who leads a group of which this node has no replica: what the map says, then what the nodes that are asked say - of
 * hints the one of the highest term (hazard F9). As long as nobody knows, or whom they name cannot be reached, those
 * that hold a replica are asked in turn.
 */

export type SearchHost = {
  /** This node. */
  readonly node: string;
  /** A connection to that node stands and has room. */
  canForward(node: string): boolean;
};

export type LeaderHint = { readonly node: string; readonly term: number };

export class LeaderSearch {
  readonly #host: SearchHost;
  /** Nodes that hold a replica, by the map, but for this one. */
  #holders: readonly string[] = [];
  #hint: LeaderHint = { node: "", term: 0 };
  #asked = "";

  constructor(host: SearchHost) {
    this.#host = host;
  }

  set holders(nodes: readonly string[]) {
    this.#holders = nodes.filter((node) => node !== this.#host.node);
  }

  /** Who leads, as told; `node` "" = nobody is known to. */
  get hint(): LeaderHint {
    return this.#hint;
  }

  /** Who is to be asked now; "" = nobody is found yet. */
  get asked(): string {
    return this.#asked;
  }

  /** Nobody was asked yet. */
  reset(): void {
    this.#asked = "";
  }

  /** It is said that `node` leads in `term`; false: that is no news. */
  hear(node: string, term: number): boolean {
    if (node === "" || term <= this.#hint.term) return false;
    this.#hint = { node, term };
    if (node !== this.#host.node) this.#asked = node;
    return true;
  }

  /** `from` does not lead; `leader` does, it says, or it knows nobody (""). */
  refused(from: string, term: number, leader: string): void {
    this.hear(leader, term);
    if (this.#asked !== from) return;
    const isOther = leader !== "" && leader !== this.#host.node && leader !== from;
    this.#asked = isOther && term >= this.#hint.term ? leader : this.#next(from);
  }

  /** Looks for another one to ask if the one that is asked cannot be reached. */
  look(): void {
    if (this.#asked !== "" && this.#host.canForward(this.#asked)) return;
    const { node } = this.#hint;
    const isGood = node !== "" && node !== this.#asked && node !== this.#host.node;
    const next = isGood && this.#host.canForward(node) ? node : this.#next(this.#asked);
    if (next !== "") this.#asked = next;
  }

  /** The first holder behind this one, in turn, that can be reached; "" if none can. */
  #next(node: string): string {
    const holders = this.#holders;
    const from = holders.indexOf(node) + 1;
    for (let i = 0; i < holders.length; i++) {
      const next = holders[(from + i) % holders.length] as string;
      if (next !== node && this.#host.canForward(next)) return next;
    }
    return "";
  }
}
