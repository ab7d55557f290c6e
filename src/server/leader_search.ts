/**
 * Who leads a group of which this node has no replica: what the map says, then what the nodes that are asked say - of
 * hints the one of the highest term (hazard F9). As long as nobody knows, or whom they name cannot be reached, those
 * that hold a replica are asked in turn.
 *
 * Nobody tells such a node that a leader is gone, and one that lost its power closes no connection. So whoever is asked and
 * is silent, or does not answer, is left for another holder, if there is one that is heard:
 *
 *     A leads, is asked, and falls silent --> B is asked: "A leads, in the term that you know"   not followed: C is asked, B ..
 *                                         --> B is asked: "C leads, in the next term"            C is asked
 *     A is heard again, and nobody led meanwhile --> B is asked: "A leads"                       A is asked
 *
 * So a node that was paused, and thinks that it leads, is asked again only if the others still think so, too. A hint of a higher
 * term is always news; if it names a silent node, the others are asked all the same. If all are silent, it is this node that
 * is cut off, and nothing changes.
 */

export type SearchHost = {
  /** This node. */
  readonly node: string;
  /** A connection to that node stands and has room. */
  canForward(node: string): boolean;
  /** That node is not heard any more, though a connection to it stands. */
  isSilent(node: string): boolean;
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

  /** Whoever is asked is said to lead, and is not just the next one in turn. */
  get isTold(): boolean {
    return this.#asked !== "" && this.#asked === this.#hint.node;
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
    const follows = isOther && term >= this.#hint.term && this.#isWell(leader);
    this.#asked = follows ? leader : this.#next(from, (node) => this.#isWell(node));
  }

  /** Looks for another one to ask if the one that is asked cannot be reached, or is silent; or does not answer (`overdue`). */
  look(overdue = false): void {
    const asked = this.#asked;
    if (asked !== "" && !overdue && this.#isWell(asked)) return;
    const { node } = this.#hint;
    const isGood = node !== "" && node !== asked && node !== this.#host.node && this.#isWell(node);
    let next = isGood ? node : this.#next(asked, (one) => this.#isWell(one));
    if (next === "" && !this.#host.canForward(asked))
      next = this.#next(asked, (one) => this.#host.canForward(one));
    if (next !== "") this.#asked = next;
  }

  #isWell(node: string): boolean {
    return this.#host.canForward(node) && !this.#host.isSilent(node);
  }

  /** The first holder behind this one, in turn, that will do; "" if none does. */
  #next(node: string, does: (node: string) => boolean): string {
    const holders = this.#holders;
    const from = holders.indexOf(node) + 1;
    for (let i = 0; i < holders.length; i++) {
      const next = holders[(from + i) % holders.length] as string;
      if (next !== node && does(next)) return next;
    }
    return "";
  }
}
