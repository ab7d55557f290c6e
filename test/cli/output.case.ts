/** Tables, colours, errors, addresses, and how this program names itself. */
import t from "tap";
import { addressFrom, readAddress, showAddress } from "../../src/cli/address.ts";
import {
  CliError,
  counted,
  errorText,
  listed,
  paintFor,
  plain,
  sentence,
  shellCommand,
  table,
} from "../../src/cli/output.ts";
import { isCompiled } from "../../src/cli/own_command.ts";
import { thrownBy } from "./script.ts";

t.test("a table is as wide as its cells, styles apart", async (t) => {
  const columns = [{ title: "A" }, { title: "COUNT", numbers: true as const }, { title: "LAST" }];
  const rows = [
    ["long one", "7", ""],
    [{ text: "x", style: "red" as const }, "1,000", "end"],
  ];
  const bare = ["A         COUNT  LAST", "long one      7", "x         1,000  end"];
  t.equal(table(columns, rows, plain), bare.join("\n"));
  t.equal(table(columns, rows, plain, "  "), bare.map((line) => `  ${line}`).join("\n"));
  const marked = table(columns, rows, (style, text) => `<${style}>${text}</>`);
  t.match(marked, "<red>x</>         1,000  end");
  t.equal(table(columns, [], plain), "A  COUNT  LAST");
});

t.test("colours are for terminals, and never against NO_COLOR", async (t) => {
  const tty = { isTTY: true };
  t.equal(paintFor(tty, {})("red", "x"), "\x1b[31mx\x1b[39m");
  t.equal(paintFor(tty, { NO_COLOR: "" })("red", "x"), "\x1b[31mx\x1b[39m", "an empty NO_COLOR is none");
  for (const environment of [{ NO_COLOR: "1" }, { NO_COLOR: "0" }, { TERM: "dumb" }]) {
    t.equal(paintFor(tty, environment), plain);
  }
  t.equal(paintFor({}, {}), plain);
});

t.test("an error says what happened, why, and what to do next", async (t) => {
  const error = new CliError(4, "It broke.", "It was old.", "Buy another.\nOr mend it.");
  t.equal(errorText(error, plain), "nucleus: It broke.\n  It was old.\n  Buy another.\n  Or mend it.");
  t.equal(errorText(new CliError(1, "It broke."), plain), "nucleus: It broke.");
});

t.test("words for people and for shells", async (t) => {
  t.equal(counted(1, "node"), "1 node");
  t.equal(counted(0, "node"), "0 nodes");
  t.equal(listed([]), "");
  t.equal(listed(["a", "b", "c"]), "a, b and c");
  t.equal(sentence("it is so"), "It is so.");
  t.equal(sentence("Is it?"), "Is it?");
  t.equal(shellCommand(["nucleus", "--dir", "/a b/it's", ""]), `nucleus --dir '/a b/it'\\''s' ''`);
});

t.test("an address comes from -h and -p, else NUCLEUS_ADDR, else the default", async (t) => {
  const from = (given: { host?: string; port?: string }, environment?: string): string =>
    showAddress(addressFrom(given, environment));
  t.equal(from({}), "127.0.0.1:7001");
  t.equal(from({ port: "9" }), "127.0.0.1:9");
  t.equal(from({}, "db.example:8001"), "db.example:8001");
  t.equal(from({ port: "9" }, "db.example:8001"), "db.example:9");
  t.equal(from({ host: "h" }, "db.example:8001"), "h:8001");
  t.equal(from({}, ":8001"), "127.0.0.1:8001");
  t.equal(from({}, "db"), "db:7001");
  t.equal(from({}, "[::1]:8001"), "[::1]:8001");
  t.equal(from({}, "::1"), "[::1]:7001");
  t.equal(from({ host: "[::1]" }), "[::1]:7001");
  for (const port of ["0", "65536", "x", "-1", "1e3", ""])
    t.match(
      thrownBy(() => from({ port })),
      { exitCode: 2 },
      port,
    );
  for (const text of ["a:b", "a b", "db:70000"])
    t.match(
      thrownBy(() => from({}, text)),
      { exitCode: 2 },
      text,
    );
  t.match(
    thrownBy(() => from({ host: "" })),
    { exitCode: 2 },
  );
});

t.test("an address is read as nodes write it", async (t) => {
  t.same(readAddress("127.0.0.1:7001"), { host: "127.0.0.1", port: 7001 });
  t.same(readAddress("::1:7001"), { host: "::1", port: 7001 });
  t.equal(readAddress("nowhere"), null);
});

t.test("a compiled program is told from a script", async (t) => {
  t.ok(isCompiled("/$bunfs/root/nucleus"));
  t.ok(isCompiled("B:\\~BUN\\root\\nucleus.exe"));
  t.notOk(isCompiled("/usr/lib/nucleus.mjs"));
  t.notOk(isCompiled());
});
