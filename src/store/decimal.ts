/**
 * Decimal fractions for INCRBYFLOAT: a bigint counts units of 10^-17, so sums are exact and the same everywhere.
 * Redis adds in long doubles and prints 17 digits behind the point; where its rounding shows, ours is the exact sum
 * (0.1 + 0.2 = 0.3 in both, 1e30 + 1 = 1000000000000000000000000000001 here alone).
 */
const FRACTION_DIGITS = 17;
/** A double's range, which is where Redis clients expect infinity. */
const LIMIT = (2n ** 1024n - 2n ** 970n) * 10n ** BigInt(FRACTION_DIGITS);
/** Longest text that is read: 309 digits, a point, a sign, 17 digits, and an exponent. */
const TEXT_BYTES_MAX = 400;
const EXPONENT_MAX = 400;
const FORM = /^([+-]?)(?:(\d+)\.?(\d*)|\.(\d+))(?:[eE]([+-]?\d+))?$/;

/** The number in `bytes[start, end)`, rounded half to even, or null if it is none or beyond a double's range. */
export function parseFixed(bytes: Uint8Array, start: number, end: number): bigint | null {
  if (end - start > TEXT_BYTES_MAX) return null;
  let text = "";
  for (let i = start; i < end; i++) text += String.fromCharCode(bytes[i] as number);
  const parts = FORM.exec(text);
  if (parts === null) return null;
  const [, sign, whole = "", fractionOfWhole = "", fraction = fractionOfWhole, exponentText = "0"] = parts;
  const digits = BigInt(whole + fraction);
  if (digits === 0n) return 0n;
  const exponent = Number(exponentText);
  if (exponent > EXPONENT_MAX) return null;
  if (exponent < -2 * EXPONENT_MAX) return 0n;
  const shift = exponent - fraction.length + FRACTION_DIGITS;
  const units = shift >= 0 ? digits * 10n ** BigInt(shift) : divideHalfEven(digits, 10n ** BigInt(-shift));
  if (units > LIMIT) return null;
  return sign === "-" ? -units : units;
}

/** The sum, or null if it is beyond a double's range. */
export function addFixed(a: bigint, b: bigint): bigint | null {
  const sum = a + b;
  return sum > LIMIT || sum < -LIMIT ? null : sum;
}

/** No exponent, no zeros at the end of a fraction, no "-0". */
export function formatFixed(units: bigint): string {
  const digits = (units < 0n ? -units : units).toString().padStart(FRACTION_DIGITS + 1, "0");
  const whole = digits.slice(0, -FRACTION_DIGITS);
  const fraction = digits.slice(-FRACTION_DIGITS).replace(/0+$/, "");
  return `${units < 0n ? "-" : ""}${whole}${fraction === "" ? "" : `.${fraction}`}`;
}

function divideHalfEven(a: bigint, b: bigint): bigint {
  const quotient = a / b;
  const twice = (a % b) * 2n;
  return twice > b || (twice === b && quotient % 2n === 1n) ? quotient + 1n : quotient;
}
