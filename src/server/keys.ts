/** Which slot a command touches. */
import { slotOf } from "../ring/slot.ts";
import type { CommandView } from "../wire/command.ts";
import { keyArgument, keyCount } from "../wire/command_keys.ts";

/** The slot of the command's keys; -1 if there is none or more than one. */
export function slotOfCommand(view: CommandView): number {
  const keys = keyCount(view);
  let slot = -1;
  for (let n = 0; n < keys; n++) {
    const i = keyArgument(view.op, n);
    const other = slotOf(view.bytes, view.argStart(i), view.argEnd(i));
    if (n > 0 && other !== slot) return -1;
    slot = other;
  }
  return slot;
}

/** The slot of each key that the command names. */
export function slotsOf(view: CommandView): number[] {
  return Array.from({ length: keyCount(view) }, (_, n) => {
    const i = keyArgument(view.op, n);
    return slotOf(view.bytes, view.argStart(i), view.argEnd(i));
  });
}
