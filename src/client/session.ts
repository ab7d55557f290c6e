/**
 * The numbers of session writes (design section 7): a random client id for each group, with numbers of its own.
 *
 * **The floor.** What a write says of its id, wherever it is sent: every number below has its answer. A shard that
 * heard it forgets the replies below, and a move carries floors along; so the floor of an id may pass no number that
 * is still open in *any* group. Three rules keep it so:
 *
 * - The window of an id, and so its floor, spans all its writes, whichever group they are sent to now.
 * - A slot keeps its id while it has unanswered writes. Where the slot went meanwhile they are repeated under the same
 *   (id, number): if one took effect at the old owner, its reply came along with the slot.
 * - An id whose write had to go to another group *strayed*: its group begins a new id. A group without a leader holds
 *   back the window of what strayed into it, and not the window of the group that gave the slot away.
 */
import type { Random } from "../platform/platform.ts";
import type { Request } from "./request.ts";
import { Window } from "./window.ts";

/**
 * Writes with higher numbers than this above the oldest unanswered one wait here. The shard keeps at most 4096
 * replies of a client: those from its floor on, as the last executed write named it, which is at most one window
 * behind; so two windows must fit.
 */
export const WINDOW_MAX = 2048;
const CLIENT_BYTES = 16;

export class Session {
  readonly client: Uint8Array;
  /** Which group its writes are for. */
  readonly group: number;
  /** The writes without an answer; `oldest` is the floor. */
  readonly window = new Window<Request>();
  hasStrayed = false;
  /** Writes beyond the window, in order. */
  #waiting: Request[] = [];

  constructor(client: Uint8Array, group: number) {
    this.client = client;
    this.group = group;
  }

  /** True: `request` waits for older ones, and comes back with `ready`. */
  holdsBack(request: Request): boolean {
    if (request.seq < this.window.oldest + WINDOW_MAX) return false;
    this.#waiting.push(request);
    return true;
  }

  /** Takes out the writes that waited and may go now. */
  ready(): readonly Request[] {
    const limit = this.window.oldest + WINDOW_MAX;
    if (this.#waiting[0] === undefined || this.#waiting[0].seq >= limit) return NONE;
    const end = this.#waiting.findIndex(({ seq }) => seq >= limit);
    return this.#waiting.splice(0, end < 0 ? this.#waiting.length : end);
  }
}

const NONE: readonly Request[] = [];

export class Sessions {
  readonly #random: Random;
  readonly #current = new Map<number, Session>();

  constructor(random: Random) {
    this.#random = random;
  }

  /** Whose numbers the next write for `group` gets. */
  of(group: number): Session {
    const current = this.#current.get(group);
    if (current !== undefined && !current.hasStrayed) return current;
    const client = new Uint8Array(CLIENT_BYTES);
    this.#random.fill(client);
    const session = new Session(client, group);
    this.#current.set(group, session);
    return session;
  }

  /** Forgets the groups that are gone; what their writes still need, they hold themselves. */
  keep(isKnown: (group: number) => boolean): void {
    for (const group of this.#current.keys()) if (!isKnown(group)) this.#current.delete(group);
  }
}
