/** Random commands over few keys, so that they meet: every op, odd arguments among them, from one seed. */
import type { Prng } from "../../src/base/prng.ts";
import { EXPIRE_OPTION, OP, SET_OPTION } from "../../src/wire/command.ts";
import type { Command } from "./driver.ts";
import type { Arg } from "./frames.ts";

const BIG_DELTAS: readonly bigint[] = [
  2n ** 31n,
  2n ** 32n,
  2n ** 53n - 1n,
  2n ** 53n + 1n,
  2n ** 62n,
  2n ** 63n - 1n,
  -(2n ** 63n),
];

export class Workload {
  readonly random: Prng;
  /** Keys to choose from; one in eight shares a hash tag, so that one slot gets many. */
  keys = 40;
  /** Longest value, for the most part. */
  valueMax = 60;
  /** One value in so many is long: up to 200 KB. */
  longEvery = 200;

  constructor(random: Prng) {
    this.random = random;
  }

  batch(countMax: number): Command[] {
    return Array.from({ length: this.random.below(countMax + 1) }, () => this.command());
  }

  key(): string {
    const n = this.random.below(this.keys);
    return n % 8 === 0 ? `{tag}${n}` : `k${n}`;
  }

  value(): Arg {
    if (this.random.chance(1, 4)) return String(this.random.below(1000));
    const long = this.random.chance(1, this.longEvery);
    const bytes = new Uint8Array(this.random.below(long ? 200_000 : this.valueMax));
    if (!long) this.random.fill(bytes);
    else bytes.fill(this.random.below(256));
    return bytes;
  }

  command(): Command {
    const { random } = this;
    const key = this.key();
    const many = (): string[] => Array.from({ length: 1 + random.below(4) }, () => this.key());
    const pairs = (): Arg[] => many().flatMap((name): Arg[] => [name, this.value()]);
    const choices: (() => Command)[] = [
      () => [OP.set, [key, this.value(), 0, 0]],
      () => this.setWithOptions(key),
      () => this.setWithOptions(key),
      () => [random.pick([OP.get, OP.strlen, OP.type, OP.getRecord, OP.getDel, OP.persist]), [key]],
      () => [OP.getRange, [key, random.between(-70, 70), random.between(-70, 70)]],
      () => [random.pick([OP.mget, OP.exists, OP.touch, OP.del]), many()],
      () => [OP.ttl, [key, random.pick([1, 1000]), random.below(2)]],
      () => [OP.dbSize, []],
      () => [OP.getEx, [key, random.pick([0, SET_OPTION.persist]), 0]],
      () => [OP.getEx, [key, SET_OPTION.expiryRelative, random.between(-1, 900)]],
      () => [OP.getSet, [key, this.value()]],
      () => [OP.append, [key, this.value()]],
      () => [OP.setRange, [key, random.between(-1, 80), this.value()]],
      () => [OP.incrBy, [key, random.chance(1, 5) ? random.pick(BIG_DELTAS) : random.between(-9, 9)]],
      () => [random.pick([OP.mset, OP.msetNx]), pairs()],
      () => [OP.expire, [key, random.between(-50, 1500), this.expireOptions()]],
      () => [OP.rename, [key, this.key(), random.below(2)]],
      () => [OP.copy, [key, this.key(), random.below(2)]],
      () => [OP.delIf, [key, SET_OPTION.ifValue, this.value()]],
      () => (random.chance(1, 40) ? [OP.flushAll, []] : [OP.get, [key]]),
    ];
    return random.pick(choices)();
  }

  setWithOptions(key: string): Command {
    const { random } = this;
    const condition = random.pick([
      0,
      0,
      SET_OPTION.onlyIfAbsent,
      SET_OPTION.onlyIfPresent,
      SET_OPTION.ifValue,
    ]);
    const time = random.pick([
      0,
      SET_OPTION.keepDeadline,
      SET_OPTION.expiryRelative,
      SET_OPTION.expiryRelative,
    ]);
    const reply = random.pick([0, SET_OPTION.returnOld, SET_OPTION.returnRevision, SET_OPTION.replyInteger]);
    const expiry = time === SET_OPTION.expiryRelative ? random.between(0, 800) : 0;
    const args: Arg[] = [key, this.value(), condition | time | reply, expiry];
    if (condition === SET_OPTION.ifValue) args.push(this.value());
    return [OP.set, args];
  }

  expireOptions(): number {
    const { random } = this;
    const condition = random.chance(1, 2)
      ? 0
      : EXPIRE_OPTION.onlyIfNone * random.below(2) +
        EXPIRE_OPTION.onlyIfAny * random.below(2) +
        EXPIRE_OPTION.onlyIfLater * random.below(2) +
        EXPIRE_OPTION.onlyIfSooner * random.below(2);
    return EXPIRE_OPTION.relative | condition;
  }
}
