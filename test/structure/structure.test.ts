import t from "tap";
import { STORAGE_VERSION, WIRE_VERSION } from "../../src/base/version.ts";

t.test("versions fit the one byte that carries them", async (t) => {
  for (const version of [WIRE_VERSION, STORAGE_VERSION]) {
    t.ok(Number.isInteger(version) && version > 0 && version < 256);
  }
});
