/** The compiled program under faults, and clusters that change. `npm run test:binary` builds it first. */
import "./disk.case.ts";
import "./fuzz.case.ts";
import "./kill.case.ts";
import "./managed.case.ts";
import "./own_key.case.ts";
import "./replacement.case.ts";
import "./restore.case.ts";
