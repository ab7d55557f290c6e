/** The state machine. One tap file, because each costs most of a second; the cases are in the files it names. */
import "./copies.case.ts";
import "./golden.case.ts";
import "./hazard.case.ts";
import "./memory.case.ts";
import "./model.case.ts";
import "./moves.case.ts";
import "./moves_model.case.ts";
import "./owned.case.ts";
import "./sessions.case.ts";
import "./snapshot.case.ts";
import "./time.case.ts";
import "./walks.case.ts";
