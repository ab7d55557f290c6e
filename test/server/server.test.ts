/** The node, room by itself: its parts with small doubles of their hosts, and whole clusters in a simulated world. */
import "./append_sender.case.ts";
import "./birth.case.ts";
import "./doors.case.ts";
import "./forwarding.case.ts";
import "./known_peers.case.ts";
import "./opening.case.ts";
import "./process.case.ts";
import "./room.case.ts";
import "./snapshots.case.ts";
