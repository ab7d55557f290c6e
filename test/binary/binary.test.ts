/** The compiled program, as people get it. `npm run test:binary` builds it first. */
import "./disk.case.ts";
import "./fuzz.case.ts";
import "./kill.case.ts";
import "./leader.case.ts";
import "./managed.case.ts";
import "./refusals.case.ts";
import "./repl.case.ts";
import "./replacement.case.ts";
import "./up.case.ts";
import "./version.case.ts";
import "./walkthrough.case.ts";
