/** The ring. One tap file, because each costs most of a second; the cases are in the files it names. */
import "./assignment.case.ts";
import "./choose_id.case.ts";
import "./circle.case.ts";
import "./golden.case.ts";
import "./layout.case.ts";
import "./plan.case.ts";
import "./slot.case.ts";
