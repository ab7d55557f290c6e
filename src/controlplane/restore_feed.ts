/**
 * A backup that this process was started with: while it leads and the state is not that of the backup, the parts of it go
 * into the log one by one, and nobody is served. A process that was not given the file only follows.
 */
import { type Backup, partOf, partsOf } from "./backup.ts";
import type { BodyOf } from "./commands.ts";
import type { MetaState } from "./state.ts";

export class RestoreFeed {
  readonly #backup: Backup;
  #isAsking = false;
  /** Why the state will never be that of the backup; null: it may. */
  refusal: string | null = null;

  constructor(backup: Backup) {
    this.#backup = backup;
  }

  isOver({ restoreToken }: MetaState): boolean {
    return this.refusal !== null || restoreToken === this.#backup.token;
  }

  /** The next part; null: it is over, or the last one is under way. */
  step(state: MetaState): BodyOf<"restorePart"> | null {
    if (this.#isAsking || this.isOver(state)) return null;
    this.#isAsking = true;
    return partOf(this.#backup, this.#partsIn(state));
  }

  /** What became of it; `refusal` null: it was taken, or is asked for again. */
  onAnswer(refusal: string | null): void {
    this.#isAsking = false;
    this.refusal = refusal;
  }

  progress(state: MetaState): string {
    return `part ${this.#partsIn(state)} of ${partsOf(this.#backup.image.length)} of the backup is written down`;
  }

  #partsIn({ restoring }: MetaState): number {
    return restoring?.token === this.#backup.token ? restoring.parts.length : 0;
  }
}
