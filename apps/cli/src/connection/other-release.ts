// Warns of a server of another release than the command, once a command for each server and release.
import { ownVersion } from '#files';
import { otherRelease, releaseOf, type OtherRelease } from '#protocol';
import type { ServerAddress } from './server-address.js';

const CODES: Record<OtherRelease, string> = {
  earlier: 'SERVER_OF_EARLIER_RELEASE',
  later: 'SERVER_OF_LATER_RELEASE',
  unlike: 'SERVER_OF_OTHER_BUILD',
};
/** The commands that start the server of this command's release in place of one that runs on the data folder. */
const REPLACE_OWN = "`espalier down`, then `espalier up` starts this command's server";

/** @param warn is given a code and a line for people */
export function releaseWarner(warn: (code: string, message: string) => void): (server: ServerAddress, release: string) => void {
  const heard = new Set<string>();
  return (server, release) => {
    const key = `${server.address} ${release}`;
    if (heard.has(key)) return;
    heard.add(key);
    const other = otherRelease(release, releaseOf(ownVersion()));
    if (other !== null) warn(CODES[other], wordsOf(other, server));
  };
}

function wordsOf(other: OtherRelease, { address, origin }: ServerAddress): string {
  if (other === 'later') return `this command is older than the server at ${address}, and may lack what the server has: update the command`;
  const replace = origin === 'data folder' ? `${REPLACE_OWN}, and its runs go on` : undefined;
  if (other === 'unlike') {
    const how = replace === undefined ? 'update the older of both' : `${replace}. Or update the command`;
    return `the server at ${address} is another build of this command's release. Its defaults of settings apply: ${how}`;
  }
  return `the server at ${address} is older than this command, and may lack what the command has: ${replace ?? 'update the server'}`;
}
