/** Watching a plan to its end: a bar on a terminal, else a line for every change, or JSON, one object a line. */
import { performance } from "node:perf_hooks";
import { setTimeout as sleep } from "node:timers/promises";
import type { Address } from "./address.ts";
import { askControl } from "./control_call.ts";
import { EXIT, type ExitCode } from "./exit_codes.ts";
import { CliError } from "./output.ts";
import {
  changeLines,
  endText,
  headText,
  progressText,
  RateMeter,
  type ReshardStatus,
  readReshard,
} from "./reshard_status.ts";

const LOOK_EVERY_MS = 250;
/** While the control plane elects a leader nothing is told; moves that were begun go on. */
const SILENCE_MS_MAX = 30_000;

export async function fetchReshard(address: Address): Promise<ReshardStatus> {
  return readReshard(await askControl(address, { method: "GET", path: "/reshard/status" }));
}

/** Until no plan is under way. Exit code 7 if it was cancelled. */
export async function watchReshard(address: Address, json: boolean): Promise<ExitCode> {
  const show = json ? jsonLines() : process.stderr.isTTY ? bar() : logLines();
  let told = performance.now();
  for (;;) {
    const status = await fetchReshard(address).catch((error: unknown) => {
      const isPassing = error instanceof CliError && error.exitCode === EXIT.unavailable;
      if (isPassing && performance.now() - told < SILENCE_MS_MAX) return null;
      show.end();
      throw error;
    });
    if (status !== null) {
      told = performance.now();
      show.next(status);
      if (!status.active) {
        show.end();
        if (!json) console.log(endText(status.last));
        return status.last?.cancelled === true ? EXIT.conflict : EXIT.ok;
      }
    }
    await sleep(LOOK_EVERY_MS);
  }
}

type Show = { next(status: ReshardStatus): void; end(): void };

function bar(): Show {
  const meter = new RateMeter();
  let isOpen = false;
  const draw = (line: string): void => {
    const width = (process.stderr.columns ?? 80) - 1;
    process.stderr.write(`\r\x1b[K${line.slice(0, width)}`);
    isOpen = true;
  };
  return {
    next: (status) => {
      if (status.active) draw(progressText(status, meter.add(performance.now(), status)));
    },
    end: () => {
      if (isOpen) process.stderr.write("\r\x1b[K");
      isOpen = false;
    },
  };
}

function logLines(): Show {
  let before: ReshardStatus | null = null;
  let head = "";
  return {
    next: (status) => {
      const now = headText(status);
      if (status.active && now !== head) console.error(now);
      head = now;
      for (const line of changeLines(before, status)) console.error(line);
      before = status;
    },
    end: () => {},
  };
}

function jsonLines(): Show {
  let before = "";
  return {
    next: (status) => {
      const line = JSON.stringify(status);
      if (line !== before) console.log(line);
      before = line;
    },
    end: () => {},
  };
}
