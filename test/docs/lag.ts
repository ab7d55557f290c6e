/**
 * Pages that lag behind the source are no mistake of whoever changed the source: said as a skip with its reason, which
 * fails in strict runs (`.ci/run`). What a page claims and is not there fails always, elsewhere.
 */
import t from "tap";

const strict = process.env.NUCLEUS_TEST_STRICT === "1";

export function upToDate(title: string, lacking: readonly string[]): void {
  const skip =
    lacking.length === 0 || strict ? false : `the pages lag behind the source: ${lacking.join("; ")}`;
  t.test(title, { skip }, async (t) => {
    t.same(lacking, []);
  });
}
