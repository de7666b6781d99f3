// Serves the dashboard's files as `vite build` leaves them. They are read once and kept in memory. Browsers may keep the files whose names
// contain a digest of their content.
import { createHash } from 'node:crypto';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { extname, join, relative, sep } from 'node:path';
import { viewOfOne } from '#comparison';
import { compressedPage, type Encoding } from './compression.js';

const TYPES: Record<string, string> = {
  '.html': 'text/html; charset=utf-8',
  '.js': 'text/javascript; charset=utf-8',
  '.css': 'text/css; charset=utf-8',
  '.svg': 'image/svg+xml',
};
const PAGE = '/index.html';
/** The addresses of the dashboard's pages, which its build lists. */
const ADDRESSES = 'pages.json';
const FOR_EVER = 'public, max-age=31536000, immutable';
const ASK_AGAIN = 'no-cache';

class PageFile {
  private readonly compressed = new Map<Encoding, Promise<Buffer>>();

  constructor(
    readonly bytes: Buffer,
    readonly headers: Record<string, string>,
  ) {}

  /** The compressed file, which is made when it is first asked for. */
  in(encoding: Encoding): Promise<Buffer> {
    const known = this.compressed.get(encoding) ?? compressedPage(this.bytes, encoding);
    this.compressed.set(encoding, known);
    return known;
  }
}

export class PageFiles {
  private files: Map<string, PageFile> | undefined;
  private addresses: readonly string[] = [];

  constructor(private readonly folder: string) {}

  /**
   * Returns the file of a path, or the page itself for each of its views. Undefined where there is no such file, or the dashboard is not
   * built.
   */
  at(path: string): PageFile | undefined {
    if (this.files === undefined && existsSync(this.folder)) {
      this.files = read(this.folder);
      this.addresses = JSON.parse(readFileSync(join(this.folder, ADDRESSES), 'utf8')) as string[];
    }
    return this.files?.get(path) ?? (this.addresses.includes(path) || viewOfOne(path) !== undefined ? this.files?.get(PAGE) : undefined);
  }

  get areBuilt(): boolean {
    return this.files !== undefined;
  }
}

function read(folder: string): Map<string, PageFile> {
  const names = readdirSync(folder, { recursive: true, encoding: 'utf8' });
  return new Map(
    names.flatMap((name) => {
      const type = TYPES[extname(name)];
      if (type === undefined) return [];
      const bytes = readFileSync(join(folder, name));
      const path = `/${relative('.', name).split(sep).join('/')}`;
      const headers = {
        'content-type': type,
        'cache-control': path.startsWith('/assets/') ? FOR_EVER : ASK_AGAIN,
        etag: `"${createHash('sha256').update(bytes).digest('base64url').slice(0, 22)}"`,
        vary: 'accept-encoding',
      };
      return [[path, new PageFile(bytes, headers)] as const];
    }),
  );
}
