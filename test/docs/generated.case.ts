/**
 * Parts of the pages between `<!-- generated: NAME -->` and `<!-- end -->` are what blocks.ts makes of the source.
 */
import { writeFileSync } from "node:fs";
import t from "tap";
import { GENERATED } from "./blocks.ts";
import { upToDate } from "./lag.ts";
import { pages } from "./markdown.ts";

const PART = /(<!-- generated: ([\w ]+) -->\n)([\s\S]*?)(<!-- end -->)/g;
const update = process.env.UPDATE === "1";

const seen: string[] = [];
const stale: string[] = [];
for (const { path, text } of pages()) {
  const fresh = text.replace(PART, (_whole, head: string, name: string, _old: string, tail: string) => {
    seen.push(name);
    const make = GENERATED[name];
    if (make === undefined) throw new Error(`${path}: nothing makes "${name}"`);
    return `${head}\n${make().join("\n")}\n\n${tail}`;
  });
  if (update && fresh !== text) writeFileSync(path, fresh);
  else if (fresh !== text) stale.push(path);
}

upToDate("generated parts of the pages are fresh; UPDATE=1 rewrites them", stale);

t.test("each generated part stands in one page", async (t) => {
  t.same(seen.toSorted(), Object.keys(GENERATED).toSorted());
});
