import { isIP } from 'node:net';

/** Tells whether only this machine can reach an address: HOST:PORT with a loopback host, or a unix socket. */
export function isLoopbackAddress(address: string): boolean {
  if (address.startsWith('unix:')) return true;
  return isLoopbackHost(/^\[([^\]]+)\]:\d+$/.exec(address)?.[1] ?? /^([^:]+):\d+$/.exec(address)?.[1] ?? '');
}

/** The port of HOST:PORT, and the host without the brackets of an IPv6 address. */
export function hostAndPort(address: string): { host: string; port: number } {
  const colon = address.lastIndexOf(':');
  return { host: address.slice(0, colon).replace(/^\[(.*)\]$/, '$1'), port: Number(address.slice(colon + 1)) };
}

export function isLoopbackHost(host: string): boolean {
  return host === 'localhost' || (isIP(host) === 4 && host.startsWith('127.')) || host === '::1';
}
