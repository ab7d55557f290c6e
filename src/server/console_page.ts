/** The web console at `/`, the same at every node and control process: one page that asks for nothing but `/events`. */
import { utf8 } from "../base/bytes.ts";
import { CONSOLE_HTML, CONSOLE_POLICY } from "../console/page.ts";
import type { HttpAnswer, HttpRequest } from "../platform/platform.ts";

const HEAD = {
  "content-type": "text/html; charset=utf-8",
  "content-security-policy": CONSOLE_POLICY,
  "cache-control": "no-store",
};
const BODY = utf8(CONSOLE_HTML);

/** False: it is not the page that was asked for. */
export function answerConsole({ path, method }: HttpRequest, answer: HttpAnswer): boolean {
  if (path !== "/" || (method !== "GET" && method !== "HEAD")) return false;
  answer.send(200, HEAD, BODY);
  return true;
}
