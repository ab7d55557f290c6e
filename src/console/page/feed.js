/**
 * Where the page learns everything: a stream of server-sent events, a snapshot a second; and the map and the wish, fetched
 * when a snapshot's version is another one. A stream that breaks or falls silent is opened again, for ever.
 */

/** Three snapshots missed: what is shown may be wrong by now. */
export const SILENT_MS = 3500;
const RETRY_MS = 1000;
const RETRY_MS_MAX = 5000;
const FETCH_MS_MAX = 4000;

/** @typedef {import("./types.d.ts").Snapshot} Snapshot */

export class Feed {
  /**
   * @param {(snapshot: Snapshot) => void} onSnapshot
   * @param {(map: import("./types.d.ts").MapJson, wish: import("./types.d.ts").WishJson) => void} onMap
   */
  constructor(onSnapshot, onMap) {
    this.onSnapshot = onSnapshot;
    this.onMap = onMap;
    /** @type {EventSource | null} */
    this.source = null;
    /** When the last snapshot came; 0: none yet. */
    this.heardAt = 0;
    this.openedAt = 0;
    this.askedAt = 0;
    this.failures = 0;
    this.reason = "";
    this.version = "";
    this.isFetching = false;
  }

  open() {
    this.source?.close();
    this.openedAt = Date.now();
    const source = new EventSource("/events");
    this.source = source;
    source.onmessage = ({ data }) => this.take(data);
    source.onerror = () => {
      if (this.source !== source) return;
      source.close();
      this.source = null;
      this.failures++;
      const wait = Math.min(RETRY_MS_MAX, RETRY_MS * this.failures);
      void this.findReason();
      setTimeout(() => this.open(), wait);
    };
  }

  /** @param {string} data */
  take(data) {
    const snapshot = JSON.parse(data);
    if (snapshot.live === undefined) {
      this.reason = leaderText(snapshot.leader ?? null);
      return;
    }
    this.heardAt = Date.now();
    this.failures = 0;
    this.reason = "";
    this.onSnapshot(snapshot);
    const { restore, index } = snapshot.live.version;
    void this.fetchMap(`${snapshot.live.cluster} ${restore}.${index}`);
  }

  /** @param {string} version */
  async fetchMap(version) {
    if (version === this.version || this.isFetching) return;
    this.isFetching = true;
    try {
      const [map, wish] = await Promise.all([fetchJson("/cluster/map"), fetchJson("/reshard/plan")]);
      this.version = version;
      this.onMap(map, wish);
    } catch {
      // The next snapshot asks again.
    }
    this.isFetching = false;
  }

  /** An event stream does not say why it was refused; the same question without a stream is answered in words. */
  async findReason() {
    this.askedAt = Date.now();
    try {
      await fetchJson("/cluster/live");
    } catch (error) {
      this.reason = error instanceof Error && error.name === "Refused" ? error.message : "it does not answer";
    }
  }

  /** Opens a silent stream again. Once a second.
   * @param {number} now @returns {import("./types.d.ts").Link} */
  look(now) {
    const last = Math.max(this.heardAt, this.openedAt);
    if (this.source !== null && now - last > 2 * SILENT_MS) this.open();
    if (now - last > SILENT_MS && now - this.askedAt > SILENT_MS) void this.findReason();
    if (now - this.heardAt <= SILENT_MS) return { state: "live", text: "live" };
    if (this.heardAt === 0 && this.failures === 0 && this.reason === "")
      return { state: "connecting", text: "connecting" };
    return { state: "lost", text: this.reason };
  }
}

/** @param {string | null} leader */
function leaderText(leader) {
  return leader === null
    ? "no control process leads; a majority of them must run"
    : `this control process does not lead: the one at ${leader} does`;
}

/** @param {string} path */
async function fetchJson(path) {
  const answer = await fetch(path, { signal: AbortSignal.timeout(FETCH_MS_MAX), cache: "no-store" });
  const value = await answer.json();
  if (answer.ok) return value;
  const error = new Error(typeof value.message === "string" ? value.message : `status ${answer.status}`);
  error.name = "Refused";
  throw error;
}
