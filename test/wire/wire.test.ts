/** Bytes on sockets: what is written reads back, what is spoilt is refused, and nothing that arrives can hurt. */
import "./batch.case.ts";
import "./beat.case.ts";
import "./command.case.ts";
import "./control.case.ts";
import "./decimal.case.ts";
import "./move_entry.case.ts";
import "./native.case.ts";
import "./peer.case.ts";
import "./redis.case.ts";
import "./reply.case.ts";
import "./resp.case.ts";
