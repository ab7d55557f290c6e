/** What the program says by its exit code: the same for every verb (`nucleus --help` lists them). */
import { codeOf } from "../base/errors.ts";

export const EXIT = {
  ok: 0,
  failed: 1,
  usage: 2,
  notFound: 3,
  unavailable: 4,
  unknownOutcome: 5,
  auth: 6,
  conflict: 7,
} as const;

export type ExitCode = (typeof EXIT)[keyof typeof EXIT];

export const EXIT_CODES_TEXT =
  "Exit codes: 0 ok, 1 failed, 2 usage, 3 not found, 4 unavailable, 5 time-out or unknown outcome, 6 auth, 7 conflict";

/** By the first word of an error reply, which says what kind of failure it is (docs/protocol.md). */
const BY_REPLY: Readonly<Record<string, ExitCode>> = {
  CLUSTERDOWN: EXIT.unavailable,
  TRYAGAIN: EXIT.unavailable,
  LOADING: EXIT.unavailable,
  MISCONF: EXIT.unavailable,
  OOM: EXIT.unavailable,
  UNCERTAIN: EXIT.unknownOutcome,
  NOAUTH: EXIT.auth,
  WRONGPASS: EXIT.auth,
  NOPERM: EXIT.auth,
};

/** The exit code for an error reply, given as its text. */
export function exitCodeOfReply(errorText: string): ExitCode {
  return BY_REPLY[errorText.split(" ", 1)[0] ?? ""] ?? EXIT.failed;
}

/** The exit code for a connection that failed (codes of resp_connection.ts), or anything else that was thrown. */
export function exitCodeOf(error: unknown): ExitCode {
  const code = codeOf(error);
  if (code === "ECONNECT") return EXIT.unavailable;
  return code === "ETIMEOUT" || code === "ECLOSED" ? EXIT.unknownOutcome : EXIT.failed;
}
