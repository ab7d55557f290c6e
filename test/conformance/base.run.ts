/**
 * What every node must compute alike, whatever it runs on: checksums, generator draws, laid-out bytes.
 * The expected numbers come from a second implementation, written from the definitions in another language.
 */
import { Reader, toHex, Writer } from "../../src/base/bytes.ts";
import { crc32, crc32Range } from "../../src/base/checksum.ts";
import { Prng } from "../../src/base/prng.ts";
import { end, ok, same } from "./tap.ts";

const text = (value: string): Uint8Array => new TextEncoder().encode(value);

function checksums(): void {
  same(crc32(new Uint8Array(0)), 0, "crc32 of nothing");
  same(crc32(text("123456789")), 0xcbf43926, "crc32 check value");
  const large = new Uint8Array(256 * 257);
  for (let i = 0; i < large.length; i++) large[i] = i & 0xff;
  same(crc32(large), 1833765888, "crc32 of 64 KiB and a bit");
  same(crc32Range(large, 1000, large.length, crc32Range(large, 0, 1000)), 1833765888, "crc32 continued");
  same(crc32(large.subarray(3, 3 + 256)), crc32(large.slice(3, 3 + 256)), "crc32 of a view is of its bytes");
}

function draws(): void {
  const four = (prng: Prng): number[] => [prng.u32(), prng.u32(), prng.u32(), prng.u32()];
  same(four(Prng.fromSeed(0)), [1427488602, 1980682239, 456575201, 3300212312], "draws of seed 0");
  same(four(Prng.fromSeed(1)), [573063952, 3268221502, 703077755, 2308299391], "draws of seed 1");
  const last = [4251970214, 283121339, 3233253927, 4087913446];
  same(four(Prng.fromSeed(Number.MAX_SAFE_INTEGER)), last, "draws of the largest seed");
  const fork = [3845052422, 628298961, 4044496290, 739540033];
  same(four(Prng.fromSeed(7).fork("disk")), fork, "draws of a fork");
  const prng = Prng.fromSeed(7);
  for (let i = 1; i < 1_000_000; i++) prng.u32();
  same(prng.u32(), 1766486755, "the millionth draw, after the engine has compiled the loop");
}

function layouts(): void {
  const writer = new Writer(1);
  writer.u8(0xa9);
  writer.u16(0x1234);
  writer.u32(0xfedcba98);
  writer.u64(Number.MAX_SAFE_INTEGER);
  writer.i64(-2n);
  writer.text("grüße");
  const hex = "a9341298badcfeffffffffffff1f00feffffffffffffff070000006772c3bcc39f65";
  same(toHex(writer.view()), hex, "numbers are little-endian, text is UTF-8 behind its length");
  const reader = new Reader(writer.copy());
  same([reader.u8(), reader.u16(), reader.u32()], [0xa9, 0x1234, 0xfedcba98], "small numbers come back");
  same(reader.u64(), Number.MAX_SAFE_INTEGER, "2^53 - 1 comes back");
  ok(reader.i64() === -2n, "a negative number comes back");
  same(reader.text(), "grüße", "text comes back");
  ok(reader.done(), "nothing is left over");
  const short = new Reader(writer.copy(), 0, 2);
  short.u32();
  ok(short.failed, "a short read says so");
}

checksums();
draws();
layouts();
end();
