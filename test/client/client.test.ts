import "./client.case.ts";
import "./core.case.ts";
import "./fates.case.ts";
import "./map.case.ts";
import "./moves.case.ts";
import "./parts.case.ts";
import "./replicas.case.ts";
import "./several.case.ts";
