/** Whom a node asks that has no replica of the group, and when it asks another one. */
import t from "tap";
import { LeaderSearch } from "../../src/server/leader_search.ts";

function world() {
  const down = new Set<string>();
  const silent = new Set<string>();
  const search = new LeaderSearch({
    node: "n9",
    canForward: (node) => !down.has(node),
    isSilent: (node) => silent.has(node),
  });
  search.holders = ["n1", "n2", "n3", "n9"];
  search.hear("n1", 5);
  return { down, silent, search };
}

t.test("H8: a silent leader is left for the next holder, and a hint of its old term is not followed", (t) => {
  const { silent, search } = world();
  search.look();
  t.equal(search.asked, "n1", "it is heard");
  silent.add("n1");
  search.look();
  t.equal(search.asked, "n2");
  t.notOk(search.isTold, "it is just the next one");
  for (const next of ["n3", "n2", "n3"]) {
    search.refused(search.asked, 5, "n1");
    search.look();
    t.equal(search.asked, next, "they have not noticed yet");
  }
  search.refused("n3", 6, "n2");
  t.equal(search.asked, "n2");
  t.ok(search.isTold);
  t.end();
});

t.test("F9: one that was paused and woke up is asked again only if the others still name it", (t) => {
  const { silent, search } = world();
  silent.add("n1");
  search.look();
  search.refused("n2", 6, "n3");
  silent.clear();
  t.notOk(search.hear("n1", 5), "what it thinks itself is no news");
  search.look();
  t.equal(search.asked, "n3");
  const other = world();
  other.silent.add("n1");
  other.search.look();
  other.silent.clear();
  other.search.look();
  t.equal(other.search.asked, "n2", "that it is heard says nothing of who leads");
  other.search.refused("n2", 5, "n1");
  t.equal(other.search.asked, "n1");
  t.end();
});

t.test("F9: a hint of a higher term is news, even of a silent node; it is asked when it is heard", (t) => {
  const { silent, search } = world();
  silent.add("n1").add("n3");
  search.look();
  search.refused("n2", 7, "n3");
  t.match(search.hint, { node: "n3", term: 7 });
  search.look();
  t.equal(search.asked, "n2", "nobody else is heard");
  search.refused("n2", 6, "n1");
  t.match(search.hint, { node: "n3", term: 7 });
  silent.delete("n3");
  search.look();
  t.equal(search.asked, "n3");
  t.end();
});

t.test(
  "H8: one that does not answer is left though it is heard, and one that all others name is asked again",
  (t) => {
    const { search } = world();
    search.look(true);
    t.equal(search.asked, "n2");
    search.refused("n2", 5, "n1");
    t.equal(search.asked, "n1");
    t.ok(search.isTold);
    t.end();
  },
);

t.test("H8: if nobody is heard it is this node that is cut off, and nobody is left for another", (t) => {
  const { silent, down, search } = world();
  for (const node of ["n1", "n2", "n3"]) silent.add(node);
  search.look();
  search.look(true);
  t.equal(search.asked, "n1");
  down.add("n1");
  search.look();
  t.equal(search.asked, "n2", "a connection is more than none");
  t.end();
});

t.test(
  "C11: a leader that is named and cannot be reached is not asked, nor whoever named it at once again",
  (t) => {
    const { down, search } = world();
    down.add("n1");
    search.look();
    t.equal(search.asked, "n2");
    search.refused("n2", 5, "n1");
    t.equal(search.asked, "n3");
    t.notOk(search.isTold, "so the pause before it is kept");
    t.end();
  },
);
