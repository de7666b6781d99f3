import { loginLink } from '#local-access';
import { tokenOf, type ServerFile } from '../connection/server-address.js';

/** Returns a link that lets a browser into the dashboard; null where the server has no dashboard. */
export function dashboardLink(dataFolder: string, { web }: ServerFile, to = '/'): string | null {
  return web === undefined ? null : loginLink(web, tokenOf(dataFolder), to);
}
