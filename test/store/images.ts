/** Snapshots in tests. */
import { Driver } from "./driver.ts";

/** The whole image of the store as it is, in its chunks. */
export function imageOf(driver: Driver): Uint8Array[] {
  const source = driver.store.beginSnapshot();
  const chunks: Uint8Array[] = [];
  for (let chunk = source.next(); chunk !== null; chunk = source.next()) chunks.push(chunk.slice());
  source.close();
  return chunks;
}

/** A driver whose store holds the image; throws with the error text if it is refused. */
export function restore(chunks: readonly Uint8Array[], like: Driver): Driver {
  const driver = new Driver(like.store.settings);
  const sink = driver.store.beginRestore();
  for (const chunk of chunks) {
    const error = sink.write(chunk);
    if (error !== null) throw new Error(error);
  }
  const error = sink.finish();
  if (error !== null) throw new Error(error);
  driver.index = driver.store.appliedIndex;
  driver.timeMs = like.timeMs;
  return driver;
}

export function reload(driver: Driver): Driver {
  return restore(imageOf(driver), driver);
}
