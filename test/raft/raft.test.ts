/** Consensus, room by itself: golden scripts, properties of the parts, and clusters in memory under faults. */
import "./golden.case.ts";
