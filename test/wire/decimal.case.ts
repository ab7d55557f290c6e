import fc from "fast-check";
import t from "tap";
import { fromUtf8, utf8, Writer } from "../../src/base/bytes.ts";
import { floatError, parseInteger, parseUnsigned, writeDecimal } from "../../src/wire/decimal.ts";

const parse = (text: string): number | bigint | null => {
  const bytes = utf8(`9${text}9`); // neighbours that must not be read
  return parseInteger(bytes, 1, bytes.length - 1);
};
const I64_MIN = -(2n ** 63n);
const I64_MAX = 2n ** 63n - 1n;

t.test("G6: integers are exact at and around 2^31, 2^32, 2^53 and 2^63", async (t) => {
  for (const power of [0n, 15n, 31n, 32n, 49n, 50n, 53n, 62n, 63n]) {
    for (const offset of [-1n, 0n, 1n]) {
      for (const sign of [1n, -1n]) {
        const value = sign * (2n ** power + offset);
        const parsed = parse(String(value));
        const fits = value >= I64_MIN && value <= I64_MAX;
        t.equal(parsed === null ? null : BigInt(parsed), fits ? value : null, String(value));
      }
    }
  }
  for (const text of ["999999999999999", "1000000000000000", "-999999999999999", "-1000000000000000"]) {
    t.equal(BigInt(parse(text) ?? "0"), BigInt(text), "where plain numbers end");
  }
});

t.test("integers are as strict as Redis's: one spelling to each number", async (t) => {
  const bad = [
    "",
    "-",
    "+1",
    " 1",
    "1 ",
    "01",
    "-0",
    "-01",
    "00",
    "0x10",
    "1e3",
    "1.0",
    "--1",
    "1-",
    "a",
    "\u0660",
  ];
  for (const text of bad) t.equal(parse(text), null, JSON.stringify(text));
  for (const text of ["9223372036854775808", "-9223372036854775809", "99999999999999999999"]) {
    t.equal(parse(text), null, text);
  }
  t.equal(parse("0"), 0);
  t.equal(parse("-7"), -7);
});

t.test("random digit strings parse as BigInt does, or not at all", async () => {
  const digits = fc.string({ unit: fc.constantFrom(..."0123456789-"), minLength: 1, maxLength: 22 });
  const reference = (text: string): bigint | null => {
    if (!/^(0|-?[1-9][0-9]*)$/.test(text)) return null;
    const value = BigInt(text);
    return value >= I64_MIN && value <= I64_MAX ? value : null;
  };
  fc.assert(
    fc.property(digits, (text) => {
      const parsed = parse(text);
      return (parsed === null ? null : BigInt(parsed)) === reference(text);
    }),
    { seed: 1, numRuns: 3000 },
  );
});

t.test("cursors are unsigned 64-bit numbers", async (t) => {
  const unsigned = (text: string): bigint | null => parseUnsigned(utf8(text), 0, text.length);
  t.equal(unsigned("0"), 0n);
  t.equal(unsigned("007"), 7n);
  t.equal(unsigned("18446744073709551615"), 2n ** 64n - 1n);
  for (const text of [
    "",
    "-1",
    "+1",
    " 1",
    "18446744073709551616",
    "99999999999999999999",
    "1x",
    "000000000000000000001",
  ]) {
    t.equal(unsigned(text), null, JSON.stringify(text));
  }
});

t.test("G6: what is written is what BigInt and Number would write", async (t) => {
  const write = (value: number | bigint): string => {
    const writer = new Writer(1);
    writeDecimal(writer, value);
    return fromUtf8(writer.view());
  };
  for (const value of [0, 9, 10, 99, 100, 2147483647, 2147483648, -1, -10, 2 ** 53 - 1, -(2 ** 53 - 1)]) {
    t.equal(write(value), String(value));
  }
  for (const value of [I64_MIN, I64_MAX, 0n]) t.equal(write(value), String(value));
  fc.assert(
    fc.property(fc.integer(), (value) => write(value) === String(value)),
    { seed: 2, numRuns: 1000 },
  );
});

t.test("increments with fractions are decimal and finite", async (t) => {
  for (const text of ["1", "-1", "+1.5", ".5", "5.", "1e3", "1E-3", "-0.0", "1e308"])
    t.equal(floatError(text), null, text);
  for (const text of ["", ".", "e3", "1e", "0x10", " 1", "1 ", "1,5", "nan", "1e5.0", "1".repeat(65)]) {
    t.equal(floatError(text), "ERR value is not a valid float", JSON.stringify(text));
  }
  for (const text of ["inf", "-Inf", "+infinity", "1e309"]) {
    t.equal(floatError(text), "ERR increment would produce NaN or Infinity", text);
  }
});
