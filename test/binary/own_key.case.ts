/** The judge of chaos/reshard.ts: what a key with one writer may hold, and what is a lost, stale or resurrected value. */
import t from "tap";
import type { Caller, Outcome } from "../../chaos/callers.ts";
import { OwnKey } from "../../chaos/own_key.ts";

/** A client that is told what becomes of its next commands. */
class Told implements Caller {
  outcome: Outcome = "done";
  held: string | null | undefined = null;

  incr = async (): Promise<Outcome> => this.outcome;
  set = async (): Promise<Outcome> => this.outcome;
  del = async (): Promise<Outcome> => this.outcome;
  get = async (): Promise<string | null | undefined> => this.held;
  close(): void {}
}

t.test("what was acknowledged last must be there, and what was deleted must not", async (t) => {
  const [key, caller] = [new OwnKey("own:1"), new Told()];
  const isWrong = async (held: string | null | undefined): Promise<boolean> => {
    caller.held = held;
    return (await key.check(caller)) !== null;
  };
  t.notOk(await isWrong(null), "nothing was written");
  await key.set(caller);
  await key.set(caller);
  t.ok(await isWrong("1"), "stale");
  t.ok(await isWrong(null), "lost");
  t.notOk(await isWrong("2"));
  t.notOk(await isWrong(undefined), "not heard is no answer");
  await key.del(caller);
  t.ok(await isWrong("2"), "resurrected");
  t.notOk(await isWrong(null));
  caller.outcome = "refused";
  await key.set(caller);
  t.ok(await isWrong("3"), "was said not to be executed");
  caller.outcome = "unknown";
  await key.set(caller);
  t.notOk(await isWrong(null), "it may not have taken effect");
  t.notOk(await isWrong("4"), "or it has");
  t.ok(await isWrong(null), "and is lost then");
  await key.set(caller);
  caller.outcome = "done";
  await key.set(caller);
  t.notOk(await isWrong("6"));
  t.notOk(await isWrong("5"), "or it takes effect late");
  t.ok(await isWrong(null));
});
