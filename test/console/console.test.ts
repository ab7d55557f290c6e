/** The web console: its page as one string, and the parts of it that compute. In a browser it is run by test/clients. */
import "./events.case.ts";
import "./page.case.ts";
import "./ring.case.ts";
import "./view.case.ts";
