/** Replies in the order of the requests, and the buffers that they leave in. */
import fc from "fast-check";
import t from "tap";
import { fromUtf8, Writer } from "../../src/base/bytes.ts";
import { OrderedReplies } from "../../src/server/ordered_replies.ts";
import { Output } from "../../src/server/output.ts";
import { RespEncoder } from "../../src/wire/resp_reply.ts";
import { FakeConnection } from "./doubles.ts";

t.test("C10: replies leave in the order of the requests, whatever order they become ready in", (t) => {
  const order = fc.shuffledSubarray([0, 1, 2, 3, 4, 5, 6, 7, 8, 9], { minLength: 10 });
  fc.assert(
    fc.property(order, fc.array(fc.nat({ max: 9 })), (ready, undone) => {
      const writer = new Writer(64);
      const replies = new OrderedReplies(new RespEncoder(writer));
      for (let i = 0; i < 10; i++) replies.assign();
      for (const request of ready) {
        if (undone.includes(request)) {
          replies.begin(request).simple("half a re");
          replies.undo(request); // it cannot be answered yet after all
        }
        replies.begin(request).integer(request);
        replies.end(request);
      }
      const expected = Array.from({ length: 10 }, (_, i) => `:${i}\r\n`).join("");
      return fromUtf8(writer.view()) === expected && replies.open === 0 && replies.keptBytes === 0;
    }),
    { seed: 11, numRuns: 300 },
  );
  t.pass("over 300 orders");
  t.end();
});

t.test("C10: a request is answered once", (t) => {
  const replies = new OrderedReplies(new RespEncoder(new Writer(64)));
  const request = replies.assign();
  replies.begin(request).nil();
  replies.end(request);
  t.throws(() => replies.begin(request), /answered once/);
  t.end();
});

t.test("C10: what is early counts, and only the next one can leave", (t) => {
  const replies = new OrderedReplies(new RespEncoder(new Writer(64)));
  for (let i = 0; i < 3; i++) replies.assign();
  replies.begin(2).simple("early");
  replies.end(2);
  t.equal(replies.keptBytes, 8);
  t.ok(replies.isNext(0));
  t.notOk(replies.isNext(1));
  t.equal(replies.open, 3);
  t.end();
});

t.test("H5, H7: a buffer that the network has not taken is left alone, and used again when it has", (t) => {
  const connection = new FakeConnection();
  const output = new Output(connection);
  connection.reads = false;
  for (let i = 0; i < 5; i++) {
    output.writer.ascii(`message ${i};`);
    output.flush();
    output.writer.ascii("overwritten?");
    output.writer.clear(); // what a turn does with a buffer that it believes to be its own
  }
  t.equal(output.queuedBytes, 5 * 10);
  connection.drain();
  t.equal(connection.text, "message 0;message 1;message 2;message 3;message 4;");
  connection.reads = true;
  const before = output.writer;
  output.writer.ascii("next;");
  output.flush();
  output.writer.ascii("last;");
  output.flush();
  t.equal(output.writer, before, "taken at once: the same buffer again");
  t.match(connection.text, /next;last;$/);
  t.end();
});

t.test("H7: a buffer that one large reply blew up is not kept", (t) => {
  const connection = new FakeConnection();
  const output = new Output(connection);
  output.writer.raw(new Uint8Array(1_000_000));
  output.flush();
  t.ok(output.writer.bytes.length < 300_000);
  t.end();
});
