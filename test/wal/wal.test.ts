import "./log.case.ts";
import "./crash.case.ts";
