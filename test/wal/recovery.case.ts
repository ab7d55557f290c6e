/** The judgement of a start: the table, and the scripts of testdata/wal/recovery.txt. */
import t from "tap";
import { type Facts, judge, matches, RECOVERY_TABLE } from "../../src/wal/recovery.ts";
import { runScript } from "./script.ts";

const NAMES: readonly (keyof Facts)[] = [
  "anySegment",
  "sizesRight",
  "headersReadable",
  "versionKnown",
  "chainWhole",
  "badBelowSynced",
  "entriesWhole",
  "recordsBehindCut",
];

function combination(bits: number): Facts {
  return Object.fromEntries(NAMES.map((name, i) => [name, ((bits >> i) & 1) === 1])) as Facts;
}

t.test("D1: exactly one row of the recovery table answers each combination of facts", async (t) => {
  const answered = new Set<string>();
  for (let bits = 0; bits < 2 ** NAMES.length; bits++) {
    const facts = combination(bits);
    const rows = RECOVERY_TABLE.filter((row) => matches(row, facts));
    t.equal(rows.length, 1, JSON.stringify(facts));
    answered.add(rows[0]?.label ?? "");
  }
  t.equal(answered.size, RECOVERY_TABLE.length, "each row answers something");
});

t.test("a log is only ever cut or used if nothing synced is missing", async (t) => {
  for (let bits = 0; bits < 2 ** NAMES.length; bits++) {
    const facts = combination(bits);
    const { verdict } = judge(facts);
    const sound =
      facts.sizesRight &&
      facts.headersReadable &&
      facts.chainWhole &&
      !facts.badBelowSynced &&
      facts.entriesWhole;
    if (verdict === "clean" || verdict === "torn") t.ok(sound && facts.versionKnown && facts.anySegment);
    if (verdict === "corrupt") t.notOk(sound);
    if (verdict === "newer") t.notOk(facts.versionKnown, "D19");
  }
});

t.test("D1 D2 D4: what a start makes of torn, damaged and missing bytes", async (t) =>
  runScript(t, "recovery"),
);
