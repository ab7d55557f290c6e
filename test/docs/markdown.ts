/** What the tests of the documentation need to know of Markdown: files, headings, links, code. */
import { existsSync, readdirSync, readFileSync } from "node:fs";

/** A fenced block: its language, its lines joined, and the line it begins at. */
export type Block = { readonly language: string; readonly text: string; readonly line: number };
export type Link = { readonly target: string; readonly line: number };

export class Page {
  readonly path: string;
  readonly text: string;
  readonly blocks: readonly Block[];
  /** The text with fenced blocks blanked out, line for line. */
  readonly prose: string;

  constructor(path: string) {
    this.path = path;
    this.text = readFileSync(path, "utf8");
    const blocks: Block[] = [];
    const prose: string[] = [];
    let open: { language: string; lines: string[]; line: number } | null = null;
    for (const [i, line] of this.text.split("\n").entries()) {
      const fence = /^\s*```(\S*)/.exec(line);
      if (fence !== null && open === null) open = { language: fence[1] ?? "", lines: [], line: i + 2 };
      else if (fence !== null && open !== null) {
        blocks.push({ language: open.language, text: open.lines.join("\n"), line: open.line });
        open = null;
      } else if (open !== null) open.lines.push(line);
      prose.push(fence !== null || open !== null ? "" : line);
    }
    this.blocks = blocks;
    this.prose = prose.join("\n");
  }

  links(): Link[] {
    return this.#matches(/\]\(([^()\s]+)\)/g).map(({ match, line }) => ({ target: match, line }));
  }

  /** Words in single backquotes. */
  inlineCode(): Link[] {
    return this.#matches(/`([^`\n]+)`/g).map(({ match, line }) => ({ target: match, line }));
  }

  /** Names by which headings can be linked to, as GitHub makes them. */
  anchors(): string[] {
    const headings = [...this.prose.matchAll(/^#{1,6} (.+)$/gm)].map((match) => match[1] as string);
    return headings.map((heading) =>
      heading
        .toLowerCase()
        .replace(/[^\p{L}\p{N}\s_-]/gu, "")
        .trim()
        .replace(/\s/g, "-"),
    );
  }

  #matches(pattern: RegExp): { match: string; line: number }[] {
    return this.prose
      .split("\n")
      .flatMap((text, i) =>
        [...text.matchAll(pattern)].map((match) => ({ match: match[1] as string, line: i + 1 })),
      );
  }
}

/** All pages, those at the top first. */
export function pages(): Page[] {
  const inDocs = readdirSync("docs")
    .filter((name) => name.endsWith(".md"))
    .sort()
    .map((name) => `docs/${name}`);
  const top = ["README.md", "TESTING.md", "HACKING.md", "CHANGELOG.md"].filter((path) => existsSync(path));
  return [...top, ...inDocs].map((path) => new Page(path));
}
