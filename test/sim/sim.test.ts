/** The simulated world behaves like the real one where it should, lies where it may, and never differs from itself. */
import "./world.case.ts";
import "./disasters.case.ts";
import "./disk.case.ts";
import "./net.case.ts";
import "./platform.case.ts";
import "./linearizability.case.ts";
import "./regressions.case.ts";
import "./run.case.ts";
import "./managed.case.ts";
import "../mutants/applies.case.ts";
