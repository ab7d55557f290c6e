import "./log.case.ts";
