/**
 * The replicated settings: what a `settings` entry holds, and what follows the config in a `bootstrap` entry.
 *
 *     0   u16  version    1
 *     2   u16  zero
 *     4   u64  memoryBytesMax
 *     12  u64  sessionRepliesMax
 *     20  u64  sessionsMax
 */
import type { Reader, Writer } from "../base/bytes.ts";
import type { StoreSettings } from "./types.ts";

const SETTINGS_VERSION = 1;

export function writeSettings(writer: Writer, settings: StoreSettings): void {
  writer.u16(SETTINGS_VERSION);
  writer.u16(0);
  writer.u64(settings.memoryBytesMax);
  writer.u64(settings.sessionRepliesMax);
  writer.u64(settings.sessionsMax);
}

/** Reads settings and goes on behind them; null, and a failed reader, if they are none. */
export function readSettings(reader: Reader): StoreSettings | null {
  if (reader.u16() !== SETTINGS_VERSION || reader.u16() !== 0) reader.fail();
  const settings = {
    memoryBytesMax: reader.u64(),
    sessionRepliesMax: reader.u64(),
    sessionsMax: reader.u64(),
  };
  return reader.failed ? null : settings;
}
