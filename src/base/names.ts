/** What nodes, shards and connections may be called: it fits into a line, a path, a URL, a metric and a point of the ring. */
const NAME = /^[A-Za-z0-9_.-]{1,64}$/;
export const NAME_RULE = '1 to 64 letters, digits, "_", "." or "-"';

export function isName(value: unknown): value is string {
  return typeof value === "string" && NAME.test(value);
}
