/** One call of the promise interface: it waits for a request of the core, and for its signal. */
import type { Caller, ClientCore, Request } from "./core.ts";
import { AbortedError, type ClientError, ProtocolError } from "./errors.ts";

/** What every call takes. */
export type CallOptions = {
  /** Most time from the call to its end; the client's default if absent. */
  readonly timeoutMs?: number | undefined;
  /** Ends the call early. What an abort means for a write that was sent, its error says. */
  readonly signal?: AbortSignal | undefined;
};

/** Turns a reply into what the call resolves to; throws a ClientError. */
export type Read<T> = (bytes: Uint8Array, start: number, end: number) => T;

export class Call<T> implements Caller {
  readonly promise: Promise<T>;
  readonly #read: Read<T>;
  #resolve!: (value: T) => void;
  #reject!: (error: unknown) => void;
  #unwatch: (() => void) | null = null;

  constructor(read: Read<T>) {
    this.#read = read;
    this.promise = new Promise((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
    });
  }

  onReply(bytes: Uint8Array, start: number, end: number): void {
    this.#unwatch?.();
    let value: T;
    try {
      value = this.#read(bytes, start, end);
    } catch (error) {
      this.#reject(error instanceof Error ? error : new ProtocolError(String(error)));
      return;
    }
    this.#resolve(value);
  }

  onError(error: ClientError): void {
    this.#unwatch?.();
    this.#reject(error);
  }

  /** Lets `signal` end the request. */
  watch(signal: AbortSignal, core: ClientCore, request: Request): void {
    if (request.state === "done") return;
    const onAbort = (): void => core.abort(request, signal.reason);
    signal.addEventListener("abort", onAbort, { once: true });
    this.#unwatch = () => signal.removeEventListener("abort", onAbort);
  }
}

/** Why a call with these options cannot begin, or null. */
export function abortedBefore(signal: AbortSignal | undefined): AbortedError | null {
  return signal?.aborted === true ? new AbortedError(signal.reason) : null;
}
