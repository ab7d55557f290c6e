/** The compiled program, as people get it. `npm run test:binary` builds it first. */
import "./version.case.ts";
