/** The command line: what it reads and prints, without a cluster. test/binary has the whole program. */
import "./connection.case.ts";
import "./control.case.ts";
import "./control_start.case.ts";
import "./output.case.ts";
import "./repl.case.ts";
import "./reply.case.ts";
import "./reshard.case.ts";
import "./synced_files.case.ts";
import "./up.case.ts";
import "./view.case.ts";
