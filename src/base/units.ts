/** Sizes in bytes and how to print them. */
export const KiB = 1024;
export const MiB = 1024 * KiB;
export const GiB = 1024 * MiB;

/** "512 B", "1.5 KiB", "64 MiB": for people, at most one decimal. */
export function formatBytes(bytes: number): string {
  const steps: readonly (readonly [number, string])[] = [
    [GiB, "GiB"],
    [MiB, "MiB"],
    [KiB, "KiB"],
  ];
  for (const [size, unit] of steps) {
    if (bytes >= size) return `${trimZero((bytes / size).toFixed(1))} ${unit}`;
  }
  return `${bytes} B`;
}

/** "830 us", "12 ms", "3.4 s": `ms` is a duration in milliseconds. */
export function formatDuration(ms: number): string {
  if (ms < 1) return `${Math.round(ms * 1000)} us`;
  if (ms < 1000) return `${trimZero(ms.toFixed(ms < 10 ? 1 : 0))} ms`;
  if (ms < 120_000) return `${trimZero((ms / 1000).toFixed(1))} s`;
  return `${Math.round(ms / 60_000)} min`;
}

/** 1234567 -> "1,234,567". */
export function formatCount(count: number): string {
  return String(count).replace(/\B(?=(\d{3})+(?!\d))/g, ",");
}

function trimZero(text: string): string {
  return text.endsWith(".0") ? text.slice(0, -2) : text;
}

/** The next multiple of `unit` (a power of two) at or above `size`. */
export function alignUp(size: number, unit: number): number {
  return Math.ceil(size / unit) * unit;
}
