/**
 * Addresses of a cluster, as people write them:
 *
 *     nucleus://n1:7001,n2:7002,[::1]:7003      any node will do; it names the others
 *     nucleus://n1                              port 7001 unless said otherwise
 *     n1:7001,n2                                the scheme may be left out
 *
 * Errors: NucleusError "EADDRESS", naming the part that is wrong.
 */
import { NucleusError } from "../base/errors.ts";

export type Address = { readonly host: string; readonly port: number };

const PORT_DEFAULT = 7001;
const SCHEME = "nucleus://";

export function parseAddresses(text: string): Address[] {
  const hosts = text.startsWith(SCHEME) ? text.slice(SCHEME.length) : text;
  const list = hosts.replace(/\/$/, "").split(",");
  return list.map((part) => {
    const address = parseAddress(part.trim());
    if (address !== null) return address;
    throw new NucleusError(
      "EADDRESS",
      `"${part}" is not HOST or HOST:PORT; a cluster's address looks like ${SCHEME}n1:7001,n2:7001,n3:7001`,
    );
  });
}

/** "host", "host:port", "[v6]:port"; null if it is none of them. */
export function parseAddress(text: string): Address | null {
  const match = /^(\[[0-9a-fA-F:.]+\]|[^:\s/@[\]]+)(?::(\d{1,5}))?$/.exec(text);
  if (match === null) return null;
  const port = match[2] === undefined ? PORT_DEFAULT : Number(match[2]);
  if (port < 1 || port > 65_535) return null;
  return { host: (match[1] as string).replace(/^\[|\]$/g, ""), port };
}

export function showAddress({ host, port }: Address): string {
  return host.includes(":") ? `[${host}]:${port}` : `${host}:${port}`;
}
