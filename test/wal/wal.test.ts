import "./format.case.ts";
import "./recovery.case.ts";
import "./log.case.ts";
import "./damage.case.ts";
import "./crash.case.ts";
