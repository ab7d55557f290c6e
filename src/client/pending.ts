/**
 * The requests that have no answer yet, by id. Ids rise with the calls; each has its place in a ring, and an id whose
 * place is still taken by a request of long ago is left out. So one slow answer keeps no memory but its own.
 *
 *     place of id n = n mod size        size: a power of two, at least twice the requests
 */
import { assert } from "../base/assert.ts";
import type { Request } from "./request.ts";

const SIZE_MIN = 128;

export class Pending {
  #places: (Request | null)[] = new Array<Request | null>(SIZE_MIN).fill(null);
  #next = 1;
  size = 0;

  /** Gives `request` its id. */
  add(request: Request): void {
    if (2 * this.size >= this.#places.length) this.#grow();
    const mask = this.#places.length - 1;
    while (this.#places[this.#next & mask] !== null) this.#next++;
    this.#places[this.#next & mask] = request;
    request.id = this.#next++;
    this.size++;
  }

  get(id: number): Request | null {
    const request = this.#places[this.#place(id)];
    return request?.id === id ? request : null;
  }

  remove(request: Request): void {
    assert(this.get(request.id) === request, "a request is answered once");
    this.#places[this.#place(request.id)] = null;
    this.size--;
  }

  /** All of them that `isWanted`, in the order of the calls. */
  list(isWanted: (request: Request) => boolean = always): Request[] {
    const list: Request[] = [];
    for (const request of this.#places) if (request !== null && isWanted(request)) list.push(request);
    return list.sort((a, b) => a.id - b.id);
  }

  some(holds: (request: Request) => boolean): boolean {
    return this.#places.some((request) => request !== null && holds(request));
  }

  /** Ids are below 2^53, and the size is a power of two, so the low 32 bits tell. */
  #place(id: number): number {
    return id & (this.#places.length - 1);
  }

  #grow(): void {
    const old = this.#places;
    this.#places = new Array<Request | null>(2 * old.length).fill(null);
    for (const request of old) if (request !== null) this.#places[this.#place(request.id)] = request;
  }
}

function always(): boolean {
  return true;
}
