/** The compiled program, as people get it and use it. `npm run test:binary` builds it first; faults.test.ts runs beside this. */
import "./leader.case.ts";
import "./refusals.case.ts";
import "./repl.case.ts";
import "./tuning.case.ts";
import "./up.case.ts";
import "./version.case.ts";
import "./walkthrough.case.ts";
