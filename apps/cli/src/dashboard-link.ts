import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { TOKEN_FILE } from '#files';
import { loginLink } from '#local-access';
import type { ServerFile } from './connection/server-address.js';

/** A link that lets a browser into the dashboard; null where the server has none. */
export function dashboardLink(dataFolder: string, { web }: ServerFile, to = '/'): string | null {
  return web === undefined ? null : loginLink(web, tokenOf(dataFolder), to);
}

/** null: its server asks for none. */
function tokenOf(dataFolder: string): string | null {
  try {
    return readFileSync(join(dataFolder, TOKEN_FILE), 'utf8').trim();
  } catch {
    return null;
  }
}
