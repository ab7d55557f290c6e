/**
 * Where a client verb finds the cluster: -h HOST and -p PORT, else NUCLEUS_ADDR (HOST:PORT, HOST or :PORT), else
 * 127.0.0.1:7001. Any node will do; it names the others.
 */
import { isIPv6 } from "node:net";
import { parseAddress } from "../server/layout.ts";
import { EXIT } from "./exit_codes.ts";
import { CliError } from "./output.ts";

export type Address = { readonly host: string; readonly port: number };

const DEFAULT_ADDRESS: Address = { host: "127.0.0.1", port: 7001 };

/** The options of every client verb, for yargs. */
export const ADDRESS_OPTIONS = {
  host: { alias: "h", type: "string", requiresArg: true, describe: "Any node of the cluster [127.0.0.1]" },
  port: {
    alias: "p",
    type: "string",
    requiresArg: true,
    describe: "Its port [7001]; both also by NUCLEUS_ADDR",
  },
} as const;

export type AddressArguments = { readonly host?: string | undefined; readonly port?: string | undefined };

export function addressFrom(given: AddressArguments, environment: string | undefined): Address {
  const base =
    environment === undefined || environment === "" ? DEFAULT_ADDRESS : fromEnvironment(environment);
  const host = given.host ?? base.host;
  const port = given.port === undefined ? base.port : parsePort(given.port, "-p");
  if (host === "")
    throw new CliError(EXIT.usage, "-h is empty.", "It names a host, for example -h 127.0.0.1.");
  return { host: host.replace(/^\[|\]$/g, ""), port };
}

function fromEnvironment(text: string): Address {
  const parts = /^([^:]*):(\d+)$/.exec(text);
  if (parts !== null) {
    return { host: parts[1] || DEFAULT_ADDRESS.host, port: parsePort(parts[2] as string, "NUCLEUS_ADDR") };
  }
  const whole = parseAddress(text);
  if (whole !== null) return whole;
  if (/^[^:\s]+$/.test(text) || isIPv6(text)) return { host: text, port: DEFAULT_ADDRESS.port };
  throw new CliError(
    EXIT.usage,
    `NUCLEUS_ADDR is not an address: ${text}`,
    "It is HOST:PORT, HOST or :PORT, for example 127.0.0.1:7001.",
  );
}

function parsePort(text: string, what: string): number {
  const port = /^\d{1,5}$/.test(text) ? Number(text) : 0;
  if (port >= 1 && port <= 65_535) return port;
  throw new CliError(EXIT.usage, `${what}: ${text} is not a port.`, "A port is a number from 1 to 65535.");
}

/** "127.0.0.1:7001", "[::1]:7001". */
export function showAddress({ host, port }: Address): string {
  return `${isIPv6(host) ? `[${host}]` : host}:${port}`;
}

/** As a node writes its own: "host:port" with the last colon splitting. Null if it is not one. */
export function readAddress(text: string): Address | null {
  const parsed = parseAddress(text);
  if (parsed !== null) return parsed;
  const colon = text.lastIndexOf(":");
  const host = text.slice(0, colon);
  return colon > 0 && isIPv6(host) && /^\d{1,5}$/.test(text.slice(colon + 1))
    ? { host, port: Number(text.slice(colon + 1)) }
    : null;
}
