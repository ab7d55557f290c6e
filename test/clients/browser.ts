/**
 * A real Chromium without a screen, driven by playwright-core (test/clients/package.json). Machines that lack one of the two
 * have no browser, and say which.
 *
 * Questions to the page are texts of JavaScript: they run there, not here.
 */
import { accessSync, constants } from "node:fs";
import { pathToFileURL } from "node:url";

const PROGRAMS = ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"];
const DRIVER = "test/clients/node_modules/playwright-core/index.mjs";

export type Page = {
  goto(address: string): Promise<unknown>;
  evaluate(expression: string): Promise<unknown>;
  screenshot(options: { path: string; fullPage: boolean }): Promise<unknown>;
  fill(selector: string, text: string): Promise<void>;
  click(selector: string): Promise<void>;
  focus(selector: string): Promise<void>;
  hover(selector: string, options: { position: { x: number; y: number } }): Promise<void>;
  setViewportSize(size: { width: number; height: number }): Promise<void>;
  emulateMedia(media: { colorScheme: "dark" | "light" }): Promise<void>;
  on(event: "request", listener: (request: { url(): string }) => void): void;
  on(event: "console", listener: (message: { type(): string; text(): string }) => void): void;
  on(event: "pageerror", listener: (error: Error) => void): void;
  readonly keyboard: { press(key: string): Promise<void> };
};

export type Browser = {
  newPage(options: { viewport: { width: number; height: number } }): Promise<Page>;
  close(): Promise<void>;
};

type Driver = {
  chromium: { launch(options: { executablePath: string; args: readonly string[] }): Promise<Browser> };
};

const has = (path: string, mode: number): boolean => {
  try {
    accessSync(path, mode);
    return true;
  } catch {
    return false;
  }
};

/** Why there is no browser here; null: there is one. */
export function whyNoBrowser(): string | null {
  if (!has(DRIVER, constants.R_OK)) return "no playwright-core: npm ci --prefix test/clients";
  if (!PROGRAMS.some((path) => has(path, constants.X_OK))) return "no Chromium: apt-get install chromium";
  return null;
}

export async function openBrowser(): Promise<Browser> {
  const executablePath = PROGRAMS.find((path) => has(path, constants.X_OK)) ?? "";
  const { chromium } = (await import(pathToFileURL(DRIVER).href)) as Driver;
  // Its sandbox needs rights that containers do not give; it shows our own page only.
  return chromium.launch({ executablePath, args: ["--no-sandbox"] });
}
