/** The table of seeded bugs in docs/simulation.md: read, brought up to date, written, between two marks. */

export type Row = {
  readonly number: string;
  readonly name: string;
  readonly seed: string;
  readonly checker: string;
  readonly cpu: string;
};

const BEGIN = "<!-- seeded bugs: written by test/mutants/mutants.run.ts --table -->";
const END = "<!-- end of seeded bugs -->";
const HEAD = ["| | What is wrong | Seed | Found by the rule | CPU s |", "| --- | --- | ---: | --- | ---: |"];

/** `page` with `rows` in place of those of the same numbers; `order` says which there are, and in which order. */
export function withRows(page: string, rows: readonly Row[], order: readonly string[]): string {
  const begin = page.indexOf(BEGIN);
  const end = page.indexOf(END);
  if (begin < 0 || end < begin) throw new Error("the page has no place for the table");
  const lines = new Map<string, string>();
  for (const line of page.slice(begin, end).split("\n")) {
    const number = /^\| (\w+) \|/.exec(line)?.[1];
    if (number !== undefined) lines.set(number, line);
  }
  for (const { number, name, seed, checker, cpu } of rows)
    lines.set(number, `| ${number} | ${name} | ${seed} | ${checker} | ${cpu} |`);
  const body = order.flatMap((number) => lines.get(number) ?? []);
  return `${page.slice(0, begin)}${[BEGIN, "", ...HEAD, ...body, "", ""].join("\n")}${page.slice(end)}`;
}
