/**
 * docs/hazards.md: every row has tests that exist, or says why it has none. UPDATE=1 fills the last column with the
 * titles that name the row, keeps others that still exist, and leaves a row without any as it is.
 */
import { readFileSync, writeFileSync } from "node:fs";
import t from "tap";
import { upToDate } from "./lag.ts";
import { allTitles, type Title } from "./titles.ts";

const PATH = "docs/hazards.md";
/** Rows of each family that is built. */
const ROWS: Readonly<Record<string, number>> = { A: 12, B: 11, C: 11, D: 19, E: 7, F: 13, G: 7, H: 12, I: 4 };
/** The family of what is not built: its rows may have tests already, and need none. */
const LATER: Readonly<Record<string, number>> = { J: 14 };
const NOT_COVERED = /^Not covered yet: .{15,}|^Not applicable: .{15,}/;

type Row = { readonly id: string; readonly cells: readonly string[]; readonly at: number };

function rowsOf(lines: readonly string[]): Row[] {
  return lines.flatMap((line, at) => {
    const cells = line.split(/(?<!\\)\|/).slice(1, -1);
    const id = cells[0]?.trim() ?? "";
    return /^[A-J]\d+$/.test(id) && cells.length === 4 ? [{ id, cells, at }] : [];
  });
}

const shown = ({ room, text }: Title): string => `${room}: ${text.replaceAll("|", "\\|")}`;
const listed = (row: Row): string[] => (row.cells[3] as string).trim().split("<br>");

function refreshed(row: Row, titles: readonly Title[]): string | null {
  const naming = titles.filter(({ hazards }) => hazards.has(row.id)).map(shown);
  const others = listed(row).filter((item) => titles.some((title) => shown(title) === item));
  const all = [...new Set([...naming, ...others])];
  return all.length === 0 ? null : `|${row.cells.slice(0, 3).join("|")}| ${all.join("<br>")} |`;
}

const titles = allTitles();
if (process.env.UPDATE === "1") {
  const lines = readFileSync(PATH, "utf8").split("\n");
  for (const row of rowsOf(lines)) lines[row.at] = refreshed(row, titles) ?? (lines[row.at] as string);
  writeFileSync(PATH, lines.join("\n"));
}
const rows = rowsOf(readFileSync(PATH, "utf8").split("\n"));

t.test("hazards.md has every row once", async (t) => {
  const wanted = Object.entries({ ...ROWS, ...LATER }).flatMap(([family, count]) =>
    Array.from({ length: count }, (_, i) => `${family}${i + 1}`),
  );
  t.same(rows.map(({ id }) => id).toSorted(), wanted.toSorted());
});

t.test("hazards.md names tests that exist", async (t) => {
  for (const row of rows) {
    const later = row.id.charAt(0) in LATER;
    const gone = listed(row).filter((item) => {
      if (NOT_COVERED.test(item) || (later && item === "Not built yet")) return false;
      return !titles.some((title) => shown(title) === item);
    });
    t.same(gone, [], row.id);
  }
});

upToDate(
  "hazards.md names all tests that name a row; UPDATE=1 rewrites it",
  rows.flatMap((row) => {
    const naming = titles.filter(({ hazards }) => hazards.has(row.id)).map(shown);
    return naming.filter((item) => !listed(row).includes(item)).map((item) => `${row.id} lacks "${item}"`);
  }),
);
