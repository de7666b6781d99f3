import { isIP } from 'node:net';

/** Tells whether only this machine can reach an address: HOST:PORT with a loopback host, or a unix socket. */
export function isLoopbackAddress(address: string): boolean {
  if (address.startsWith('unix:')) return true;
  return isLoopbackHost(/^\[([^\]]+)\]:\d+$/.exec(address)?.[1] ?? /^([^:]+):\d+$/.exec(address)?.[1] ?? '');
}

export function isLoopbackHost(host: string): boolean {
  return host === 'localhost' || (isIP(host) === 4 && host.startsWith('127.')) || host === '::1';
}
