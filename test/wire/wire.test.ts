/** Bytes on sockets: what is written reads back, what is spoilt is refused, and nothing that arrives can hurt. */
import "./command.case.ts";
import "./decimal.case.ts";
import "./redis.case.ts";
import "./reply.case.ts";
import "./resp.case.ts";
