/**
 * The web console in a real browser: over the control plane's service with model nodes, where everything that can happen
 * is made to happen; and as real processes serve it. Screenshots for people are left in .out/console/.
 */
import { mkdirSync } from "node:fs";
import t, { type Test } from "tap";
import xxhash from "xxhash-wasm";
import { type Browser, openBrowser, type Page, whyNoBrowser } from "./browser.ts";
import { ConsoleWorld } from "./console_world.ts";
import { RealCluster } from "./real_cluster.ts";

const SHOTS = ".out/console";
const skip = whyNoBrowser() ?? false;
const WAIT_MS = 60_000;

const { h64 } = await xxhash();
let browser: Browser | null = null;
if (skip === false) browser = await openBrowser();
t.teardown(() => browser?.close());
mkdirSync(SHOTS, { recursive: true });

type Watched = { readonly page: Page; readonly foreign: string[]; readonly complaints: string[] };

async function open(address: string): Promise<Watched> {
  const page = await (browser as Browser).newPage({ viewport: { width: 1360, height: 900 } });
  const foreign: string[] = [];
  const complaints: string[] = [];
  page.on("request", (request) => {
    const url = request.url();
    if (!url.startsWith(`${address}/`) && !url.startsWith("data:")) foreign.push(url);
  });
  page.on("console", (message) => {
    // Connections that are refused, and answers of 503, are no complaint of the page: they are part of the play.
    if (message.type() === "error" && !message.text().startsWith("Failed to load resource"))
      complaints.push(message.text());
  });
  page.on("pageerror", (error) => complaints.push(error.message));
  await page.goto(`${address}/`);
  return { page, foreign, complaints };
}

const shot = (page: Page, name: string): Promise<unknown> =>
  page.screenshot({ path: `${SHOTS}/${name}.png`, fullPage: true });
const textOf = async (page: Page, id: string): Promise<string> =>
  String(await page.evaluate(`document.getElementById("${id}").innerText`));
/** Asked again and again from here: the page's policy lets nobody put code into it that waits there. */
async function untilSo(what: string, isSo: () => Promise<boolean>): Promise<void> {
  for (const end = Date.now() + WAIT_MS; Date.now() < end; ) {
    if (await isSo()) return;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  throw new Error(`within ${WAIT_MS} ms it did not come to pass that ${what}`);
}
const untilTrue = (page: Page, expression: string): Promise<void> =>
  untilSo(expression, async () => (await page.evaluate(expression)) === true);
const until = (page: Page, id: string, text: string): Promise<void> =>
  untilTrue(page, `document.getElementById("${id}").innerText.includes(${JSON.stringify(text)})`);
const untilLink = (page: Page, state: string): Promise<void> =>
  untilTrue(page, `document.getElementById("link").dataset.state === "${state}"`);
const untilServed = (page: Page): Promise<void> => until(page, "focus-text", "is served by");

/** Colours in the middle of the left upper, and the right lower half of a slot's square. */
async function colorsOfSlot(page: Page, slot: number): Promise<string[]> {
  const found = await page.evaluate(`(() => {
    const canvas = document.getElementById("slots");
    const size = canvas.width / 128;
    const at = (part) => [...canvas.getContext("2d").getImageData(
      (${slot} % 128) * size + part, Math.floor(${slot} / 128) * size + part, 1, 1).data.slice(0, 3)];
    const hex = (parts) => "#" + parts.map((part) => part.toString(16).padStart(2, "0")).join("");
    return [hex(at(0)), hex(at(size - 2))];
  })()`);
  return found as string[];
}

/** Distinct colours of a canvas that cover more than a hundredth of it. */
async function colorsOf(page: Page, id: string): Promise<string[]> {
  const found = await page.evaluate(`(() => {
    const canvas = document.getElementById("${id}");
    const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
    const counts = new Map();
    for (let i = 0; i < data.length; i += 4) {
      if (data[i + 3] < 255) continue;
      const hex = "#" + [data[i], data[i + 1], data[i + 2]].map((part) => part.toString(16).padStart(2, "0")).join("");
      counts.set(hex, (counts.get(hex) ?? 0) + 1);
    }
    return [...counts].filter(([, count]) => count > data.length / 400).map(([hex]) => hex);
  })()`);
  return found as string[];
}

const S1 = "#3d7fd6";
const S2 = "#f6ad3c";
const S3 = "#0d5c46";
/** The fifth colour. */
const S5 = "#d86f92";

async function atFirst({ page }: Watched, world: ConsoleWorld, t: Test): Promise<void> {
  await until(page, "empty-text", "4 nodes registered");
  t.equal(await textOf(page, "empty-command"), "nucleus cluster init --shards 4 --replicas 3");
  t.match(await textOf(page, "verdict"), /Empty/);
  await shot(page, "empty");
  world.http("POST", "/cluster/init", { shards: 3, replicas: 3 });
  await drive(world, () => world.state.shards.size === 3, 20);
  await drive(world, () => [...world.groups.values()].every(({ leader }) => leader !== null), 40);
  await until(page, "verdict", "Healthy");
  t.match(await textOf(page, "events"), "the cluster has its first layout: 3 shards");
  t.match(await textOf(page, "shards-led"), "3 of 3");
}

async function drive(world: ConsoleWorld, isSo: () => boolean, more: number): Promise<void> {
  for (let left = more, i = 0; left > 0 && i < 2000; i++) {
    world.advance(2);
    if (isSo()) left--;
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

async function slots({ page }: Watched, world: ConsoleWorld, t: Test): Promise<void> {
  await untilServed(page);
  t.same((await colorsOf(page, "slots")).filter((color) => color !== "#ffffff").sort(), [S1, S2, S3].sort());
  for (const color of [S1, S2, S3])
    t.ok((await colorsOf(page, "ring")).includes(color), `${color} is on the ring`);
  const ownerOf = (slot: number): string => world.state.assignment.shardAt(slot) ?? "nobody";
  await page.fill("#key", "{user:1}.name");
  t.match(await textOf(page, "key-text"), /slot \d+, by its tag "user:1"/);
  await page.fill("#key", "hello");
  t.equal(await textOf(page, "key-text"), "slot 866");
  t.match(
    await textOf(page, "focus-text"),
    `Slot 866 is served by ${ownerOf(866)} since epoch 1; the next point is ${ownerOf(866)}#`,
  );
  await page.focus("#slots");
  await page.keyboard.press("ArrowDown");
  t.match(await textOf(page, "focus-text"), `Slot 994 is served by ${ownerOf(994)}`, "keys walk");
  await page.hover("#slots", { position: { x: 6, y: 2 } });
  t.match(await textOf(page, "focus-text"), `Slot 1 is served by ${ownerOf(1)}`, "and the mouse looks");
  await page.click("#legend li:nth-child(2) button");
  const chosen = (await colorsOf(page, "slots")).filter((color) => [S1, S2, S3].includes(color));
  t.same(chosen, [S2], "one shard alone");
  await page.keyboard.press("Escape");
  t.ok((await colorsOf(page, "slots")).includes(S1), "all again");
}

async function moves({ page }: Watched, world: ConsoleWorld, t: Test): Promise<void> {
  world.http("POST", "/shard/add", { id: "s5", manual: true });
  await drive(world, () => world.state.plan?.moves.some(({ state }) => state === "running") === true, 40);
  const move = world.state.plan?.moves.find(({ state }) => state === "running");
  if (move === undefined) throw new Error("no move runs");
  await until(page, "plan-state", "waits for nucleus reshard cutover");
  await until(page, "moves", "running");
  const slot = move.slots[0]?.[0] ?? 0;
  const from = { s1: S1, s2: S2, s3: S3 }[move.from];
  t.same(await colorsOfSlot(page, slot), [from, S5], "a slot on its way has both colours");
  const width = await page.evaluate(`document.querySelector("#moves .bar i").getBoundingClientRect().width`);
  t.ok(Number(width) > 5, "its bar has grown");
  await shot(page, "moving");
  world.http("POST", "/reshard/cutover", { epoch: world.state.planNumber });
  await drive(world, () => world.state.plan === null, 10);
  await until(page, "plan-state", "is done");
  t.match(await textOf(page, "events"), /plan 2 is done: (\d+) of \1 moves/);
  t.match(await textOf(page, "moves"), "3 ms", "with its pause");
  await untilSo("the new shard has slots", async () => (await colorsOf(page, "slots")).includes(S5));
}

async function deaths({ page }: Watched, world: ConsoleWorld, t: Test): Promise<void> {
  const node = world.nodes.get("n3");
  if (node === undefined) throw new Error("there is no n3");
  node.up = false;
  await drive(world, () => world.view().standing("n3") === "dead", 5);
  await until(page, "nodes", "dead");
  t.match(await textOf(page, "verdict"), /not heard: n3/);
  t.match(await textOf(page, "events"), /node n3 counts as dead[\s\S]*node n3 is silent/, "newest first");
  t.match(await textOf(page, "shards"), "voter, silent");
  await page.emulateMedia({ colorScheme: "dark" });
  await drive(world, () => true, 5);
  await shot(page, "dark");
  node.up = true;
  await drive(world, () => world.view().standing("n3") === "alive", 5);
  await until(page, "events", "node n3 is back");
}

t.test("the console, from an empty cluster to a lost connection", { skip }, async (t) => {
  const world = new ConsoleWorld(1, 4, h64);
  const address = await world.open();
  world.advance(40);
  const watched = await open(address);
  const { page } = watched;
  try {
    await atFirst(watched, world, t);
    await slots(watched, world, t);
    await moves(watched, world, t);
    await deaths(watched, world, t);
    await page.setViewportSize({ width: 375, height: 800 });
    const width = await page.evaluate("document.documentElement.scrollWidth");
    t.equal(width, 375, "nothing sticks out on a phone");
    await shot(page, "phone");
    await world.shut();
    await untilLink(page, "lost");
    t.match(await textOf(page, "lost"), /No news of the cluster.*Trying again by itself/);
    t.equal(await page.evaluate(`document.body.className`), "stale");
    await world.open(Number(new URL(address).port));
    await untilLink(page, "live");
    t.equal(await page.evaluate(`document.getElementById("lost").hidden`), true, "it is back by itself");
  } finally {
    await world.shut();
  }
  t.same(watched.foreign, [], "nobody else was asked for anything");
  t.same(watched.complaints, [], "the browser has nothing to complain of, the policy included");
  t.same(world.wrongs, []);
});

t.test("the console of real processes", { skip }, async (t) => {
  const cluster = new RealCluster(t.testdir());
  t.teardown(() => cluster.end());
  await cluster.startControl();
  const statuses = new Set<number>();
  for (let i = 0; i < 50; i++) statuses.add((await fetch(`${cluster.control}/cluster/live`)).status);
  t.same([...statuses], [200], "who leads answers, whenever it is asked");
  const watched = await open(cluster.control);
  const { page } = watched;
  await until(page, "empty-text", "no node has registered");
  await cluster.startNodes(2);
  await until(page, "empty-text", "2 nodes registered");
  await cluster.init({ shards: 2, replicas: 2 });
  await until(page, "shards-led", "2 of 2");
  await untilServed(page);
  t.match(
    await textOf(page, "focus-text"),
    /^Slot 866 is served by s[12] since epoch 1; the next point is s[12]#\d+\.$/,
  );
  t.match(await textOf(page, "shards"), /s1[\s\S]*leader[\s\S]*s2[\s\S]*leader/);
  await shot(page, "real");
  t.same(watched.foreign, []);
  t.same(watched.complaints, []);
});
