/**
 * Gives a buffer's memory back at once. Left to the collector it stays: an idle node allocates nothing, so nothing
 * is collected, and what a snapshot copied aside, as much as the data at worst, would be held until the next one.
 *
 * `transfer` is of the language since ES2024; Node before version 22 lacks it, and there the collector comes later.
 * Nobody may look into `bytes`, or another view of their buffer, again.
 */
export function release(bytes: Uint8Array): void {
  const buffer = bytes.buffer as { transfer?: (length: number) => unknown };
  buffer.transfer?.(0);
}
