// Warns of a server of another release than the command, once a command for each server and release.
import { ownVersion } from '#files';
import { otherRelease, releaseOf } from '#protocol';
import type { ServerAddress } from './server-address.js';

/** @param warn is given a code and a line for people */
export function releaseWarner(warn: (code: string, message: string) => void): (server: ServerAddress, release: string | undefined) => void {
  const heard = new Set<string>();
  return (server, release) => {
    const key = `${server.address} ${release}`;
    if (heard.has(key)) return;
    heard.add(key);
    const other = otherRelease(release, releaseOf(ownVersion()));
    if (other !== null) warn(`SERVER_OF_${other.toUpperCase()}_RELEASE`, `the server at ${server.address} is of ${wordsOf(other, server)}`);
  };
}

function wordsOf(other: 'earlier' | 'later', { origin }: ServerAddress): string {
  if (other === 'later') return 'a later release than this command, which lacks what came since: update the command';
  const isOwn = origin === 'data folder';
  const how = isOwn ? '`espalier down`, then `espalier up` starts this one, and its runs go on' : 'update it for what came since';
  return `an earlier release than this command: ${how}`;
}
