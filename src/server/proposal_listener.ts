/** Between the state machine and whoever waits for what it applies. */
import type { ApplyListener } from "../store/types.ts";
import { DISCARD, type ReplySink } from "../wire/reply.ts";
import type { Bundle } from "./bundle.ts";

/** Leads the replies of a batch to those who proposed its commands here. */
export class ProposalListener implements ApplyListener {
  bundle: Bundle | null = null;
  readonly #refused: (bundle: Bundle, i: number, slot: number) => void;

  constructor(refused: (bundle: Bundle, i: number, slot: number) => void) {
    this.#refused = refused;
  }

  begin(ordinal: number): ReplySink {
    const { bundle } = this;
    if (bundle === null || ordinal >= bundle.count) return DISCARD;
    return bundle.origin(ordinal).begin(bundle.tag(ordinal));
  }

  end(ordinal: number): void {
    const { bundle } = this;
    if (bundle === null || ordinal >= bundle.count) return;
    bundle.end(ordinal);
  }

  notServed(ordinal: number, slot: number): void {
    const { bundle } = this;
    if (bundle !== null && ordinal < bundle.count) this.#refused(bundle, ordinal, slot);
  }
}
