/** Many groups and moves between them, apart from the rest of the room: whole clusters with a control plane. */
import "./agent.case.ts";
import "./elections.case.ts";
import "./many_groups.case.ts";
import "./move_line.case.ts";
import "./move_pace.case.ts";
import "./move_reports.case.ts";
import "./moves.case.ts";
import "./moves_faults.case.ts";
import "./reports.case.ts";
import "./silent_leader.case.ts";
import "./twin_epochs.case.ts";
