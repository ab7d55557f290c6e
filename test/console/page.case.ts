/** The page as a whole: fresh, whole, and in need of nothing from elsewhere. */
import { createHash } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";
import t from "tap";
import { consoleModule, TARGET } from "../../scripts/console.ts";
import { CONSOLE_HTML, CONSOLE_POLICY } from "../../src/console/page.ts";

t.test("the page is made from its sources as they are", async (t) => {
  const made = consoleModule();
  if (process.env.UPDATE === "1") writeFileSync(TARGET, made);
  t.ok(readFileSync(TARGET, "utf8") === made, "fresh; or else: npx tsx scripts/console.ts");
});

t.test("the page asks nobody else for anything, and runs nothing but its own", async (t) => {
  const inside = (tag: string): string[] =>
    [...CONSOLE_HTML.matchAll(new RegExp(`<${tag}[^>]*>([\\s\\S]*?)</${tag}>`, "g"))].map(
      (match) => match[1] ?? "",
    );
  const hash = (text: string): string => `'sha256-${createHash("sha256").update(text).digest("base64")}'`;
  const [scripts, styles] = [inside("script"), inside("style")];
  t.same([scripts.length, styles.length], [1, 1]);
  t.match(CONSOLE_POLICY, `script-src ${hash(scripts[0] ?? "")};`);
  t.match(CONSOLE_POLICY, `style-src ${hash(styles[0] ?? "")};`);
  t.match(CONSOLE_POLICY, "default-src 'none'; ");
  t.notMatch(CONSOLE_POLICY, "unsafe");
  const addresses = [...CONSOLE_HTML.matchAll(/https?:\/\/[^\s'"]+/g)].map(([address]) => address);
  t.same(addresses, ["http://www.w3.org/2000/svg"], "the one address is a namespace, which nobody asks");
  t.notMatch(CONSOLE_HTML, /\son\w+=|\sstyle=|@import|innerHTML/, "nothing that the policy would stop");
});
