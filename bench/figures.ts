/**
 * Figures with limits: what the scripts beside this one print, and the exit code that follows from it.
 *
 *     figure                                   is         limit
 *     commands replayed a second          612,345   >=  500,000  ok
 *
 * A figure without a limit is told and asserts nothing.
 */

export type Figure = {
  readonly name: string;
  /** NaN: it could not be found out, which fails if there is a limit. */
  readonly value: number;
  readonly limit?: { readonly most: number } | { readonly least: number };
  /** Digits after the point. */
  readonly digits?: number;
};

/** NaN is neither at most nor at least anything. */
function isOk({ value, limit }: Figure): boolean {
  if (limit === undefined) return true;
  return "most" in limit ? value <= limit.most : value >= limit.least;
}

function show(value: number, digits = 0): string {
  if (Number.isNaN(value)) return "unknown";
  return value.toLocaleString("en-US", { minimumFractionDigits: digits, maximumFractionDigits: digits });
}

function limitCell({ limit, digits }: Figure): string {
  if (limit === undefined) return "";
  return "most" in limit ? `<= ${show(limit.most, digits)}` : `>= ${show(limit.least, digits)}`;
}

/** Prints the table, or one JSON object; the exit code: 0 if all limits hold. */
export function report(figures: readonly Figure[], json: boolean): number {
  const passed = figures.every(isOk);
  if (json) {
    const rows = figures.map((figure) => ({ ...figure, ok: isOk(figure) }));
    console.log(JSON.stringify({ passed, figures: rows }));
    return passed ? 0 : 1;
  }
  const rows = figures.map((figure) => [
    figure.name,
    show(figure.value, figure.digits),
    limitCell(figure),
    figure.limit === undefined ? "" : isOk(figure) ? "ok" : "FAILED",
  ]);
  const width = (column: number): number =>
    Math.max(...[["figure", "is", "limit", ""], ...rows].map((row) => (row[column] ?? "").length));
  for (const [name = "", is = "", limit = "", verdict = ""] of [["figure", "is", "limit", ""], ...rows]) {
    const cells = [name.padEnd(width(0)), is.padStart(width(1)), limit.padStart(width(2)), verdict];
    console.log(cells.join("  ").trimEnd());
  }
  return passed ? 0 : 1;
}

export const median = (list: readonly number[]): number =>
  list.toSorted((a, b) => a - b)[list.length >> 1] ?? Number.NaN;
