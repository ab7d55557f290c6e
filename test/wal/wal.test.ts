import "./format.case.ts";
import "./recovery.case.ts";
import "./log.case.ts";
import "./sync.case.ts";
import "./groups.case.ts";
import "./room.case.ts";
import "./damage.case.ts";
import "./crash.case.ts";
