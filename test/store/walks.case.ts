/** SCAN, KEYS and their patterns. */
import t from "tap";
import { Prng } from "../../src/base/prng.ts";
import { Glob } from "../../src/store/glob.ts";
import { OP } from "../../src/wire/command.ts";
import { Driver } from "./driver.ts";
import { bytesOf } from "./frames.ts";
import { reload } from "./images.ts";

t.test(
  "SCAN meets every key that stays, whatever comes and goes, and on whatever replica it goes on",
  async (t) => {
    const random = Prng.fromSeed(1);
    for (const shape of ["spread", "one slot"]) {
      const name = (i: number | string): string => (shape === "spread" ? `k${i}` : `{s}${i}`);
      let driver = new Driver();
      const staying = Array.from({ length: 2000 }, (_, i) => name(i));
      driver.apply(...staying.map((key) => [OP.set, [key, "v", 0, 0]] as const));
      const met = new Set<string>();
      let cursor = "0";
      let calls = 0;
      do {
        const count = 1 + random.below(30);
        const [next, keys] = driver.run(OP.scan, BigInt(cursor), count, "", "") as [string, string[]];
        for (const key of keys) met.add(key);
        cursor = next;
        calls++;
        const comings = Array.from({ length: 50 }, () => name(`new${random.below(5000)}`));
        driver.apply(...comings.map((key) => [OP.set, [key, "v", 0, 0]] as const));
        driver.apply([OP.del, Array.from({ length: 40 }, () => name(`new${random.below(5000)}`))]);
        driver.apply([OP.set, [staying[random.below(2000)] as string, "longer value than before", 0, 0]]);
        if (calls % 40 === 0) driver = reload(driver);
      } while (cursor !== "0");
      t.same(
        staying.filter((key) => !met.has(key)),
        [],
        `${shape}: ${calls} calls`,
      );
    }
  },
);

t.test("SCAN without changes gives each key once, in any step", async (t) => {
  const driver = new Driver();
  const names = Array.from({ length: 1500 }, (_, i) => (i % 3 === 0 ? `{a}${i}` : `k${i}`));
  driver.apply(...names.map((key) => [OP.set, [key, "v", 0, 0]] as const));
  for (const count of [1, 2, 10, 499, 1499, 1500, 2n ** 53n]) {
    const keys: string[] = [];
    let cursor = "0";
    do {
      const [next, some] = driver.run(OP.scan, BigInt(cursor), count, "", "") as [string, string[]];
      keys.push(...some);
      cursor = next;
    } while (cursor !== "0");
    t.same(keys.sort(), [...names].sort(), `count ${count}`);
  }
});

function matches(pattern: string, text: string): boolean {
  const bytes = bytesOf(pattern);
  const on = bytesOf(text);
  return new Glob(bytes, 0, bytes.length).matches(on, 0, on.length);
}

t.test("globs: the rules of Redis", async (t) => {
  const yes: [string, string][] = [
    ["", ""],
    ["*", ""],
    ["*", "anything"],
    ["**", "x"],
    ["a*c", "abbbc"],
    ["a*c", "ac"],
    ["h?llo", "hello"],
    ["h[ae]llo", "hallo"],
    ["h[^e]llo", "hallo"],
    ["h[a-c]llo", "hbllo"],
    ["h[c-a]llo", "hbllo"],
    ["\\*", "*"],
    ["\\?x", "?x"],
    ["a\\", "a\\"],
    ["[\\]]", "]"],
    ["[abc", "b"],
    ["[^]a", "xa"],
    ["*a*b*", "xxaxxbxx"],
    ["[a-]", "_"], // a range up to the bracket, in a set that is never closed
  ];
  const no: [string, string][] = [
    ["", "x"],
    ["a", "A"],
    ["?", ""],
    ["a*c", "abbb"],
    ["h[ae]llo", "hillo"],
    ["h[^e]llo", "hello"],
    ["\\*", "x"],
    ["[]", "]"],
    ["*a*b", "xxbxxa"],
    ["a?", "a"],
  ];
  for (const [pattern, text] of yes) t.ok(matches(pattern, text), `${pattern} matches ${text}`);
  for (const [pattern, text] of no) t.notOk(matches(pattern, text), `${pattern} does not match ${text}`);
});

t.test("globs: against a plain recursive matcher", async (t) => {
  const naive = (p: string, s: string): boolean => {
    if (p === "") return s === "";
    if (p[0] === "*") return naive(p.slice(1), s) || (s !== "" && naive(p, s.slice(1)));
    return s !== "" && (p[0] === "?" || p[0] === s[0]) && naive(p.slice(1), s.slice(1));
  };
  const random = Prng.fromSeed(2);
  const word = (letters: string, length: number): string =>
    Array.from({ length: random.below(length) }, () => letters[random.below(letters.length)]).join("");
  const wrong: string[] = [];
  for (let i = 0; i < 20_000; i++) {
    const pattern = word("ab*?*", 9);
    const text = word("ab", 10);
    if (matches(pattern, text) !== naive(pattern, text)) wrong.push(`${pattern} on ${text}`);
  }
  t.same(wrong, []);
});

t.test("globs: nested stars cost pattern times text, not a power of it", async (t) => {
  t.notOk(matches(`${"*a".repeat(4000)}b`, "a".repeat(16_000)));
  t.notOk(matches(`${"*?".repeat(4000)}b`, "a".repeat(16_000)));
  t.ok(matches("*a".repeat(4000), "a".repeat(16_000)));
});
