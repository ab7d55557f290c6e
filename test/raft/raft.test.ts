/** Consensus, room by itself: golden scripts, the parts against slow models, and whole clusters under faults. */
import "./golden.case.ts";
import "./parts.case.ts";
import "./config.case.ts";
import "./peer.case.ts";
import "./soak.case.ts";
