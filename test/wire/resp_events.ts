/** What a RESP parser says to a stream, as lines of text. */
import { argBytes } from "../../src/wire/args.ts";
import { RespParser } from "../../src/wire/resp_parse.ts";
import { poison } from "./bytes.ts";
import { quote, unquote } from "./script.ts";

/** Everything said to `chunks`. Each chunk is overwritten as soon as the parser is done with it (H11). */
export function events(chunks: readonly Uint8Array[], parser = new RespParser()): string[] {
  const said: string[] = [];
  for (const chunk of chunks) {
    const own = chunk.slice();
    parser.feed(own);
    let event = parser.next();
    while (event === "command" || event === "refused") {
      said.push(event === "refused" ? `refused ${parser.errorText}` : describe(parser));
      event = parser.next();
    }
    poison(own);
    if (event === "error") return [...said, `error ${parser.errorText}`];
  }
  return said;
}

function describe(parser: RespParser): string {
  const words = Array.from({ length: parser.argCount }, (_, i) => `[${quote(argBytes(parser, i))}]`);
  return `command ${words.join(" ")}`;
}

/** The words of "command [..] [..]"; none of them may hold brackets. */
export function wordsOfEvent(event: string): Uint8Array[] {
  return Array.from(event.matchAll(/\[([^\]]*)\]/g), ([, word]) => unquote(word as string));
}
