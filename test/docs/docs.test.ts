/**
 * The documentation says what the program does: what it names exists, what it lists is complete, and what is
 * generated is fresh. `UPDATE=1 npx tap test/docs/docs.test.ts` rewrites the generated parts.
 */
import "./commands.case.ts";
import "./generated.case.ts";
import "./hazards.case.ts";
import "./links.case.ts";
import "./texts.case.ts";
