// A server that speaks the protocol of the Hugging Face hub, for tests: commits, lists of files, bytes (the large ones at another address,
// as of LFS), and uploads. Tests let it cut connections, refuse requests and send wrong bytes.
import { createHash } from 'node:crypto';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

/** Larger files are of LFS, as the attributes of a new repository say for weights. */
const LFS_FROM = 2_000;
const COMMIT = 'c0ffee'.padEnd(40, '0');

export interface Request {
  method: string;
  path: string;
  range: string | undefined;
  /** Whether the request carries the token. */
  hasToken: boolean;
}

export interface Behaviour {
  /** The hub cuts its first answers with bytes, each after the number of bytes in this list. */
  cutAfter?: number[];
  /** Answers with these statuses come first, each once. */
  first?: { status: number; headers?: Record<string, string> }[];
  /** The bytes of this path are not those of its digest, so often. */
  damaged?: { path: string; times: number };
  /** Names for the list of files in place of the own ones: from path to another. */
  listedAs?: Record<string, string>;
  /** The token without which nothing is shown. */
  token?: string;
  /** Where the bytes of large files are, in place of this server by another name. */
  redirectTo?: string;
}

interface Repository {
  files: Map<string, Buffer>;
  commit: string;
}

export class TestHub {
  readonly requests: Request[] = [];
  behaviour: Behaviour = {};
  private readonly repositories = new Map<string, Repository>();
  private readonly lfs = new Map<string, Buffer>();
  private commits = 0;

  private constructor(private readonly server: Server) {}

  static async start(): Promise<TestHub> {
    const server = createServer();
    const hub = new TestHub(server);
    server.on('request', (request, response) => void hub.answer(request, response));
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    return hub;
  }

  get address(): string {
    return `http://127.0.0.1:${(this.server.address() as AddressInfo).port}`;
  }

  /** Another origin of the same server: the hub's large files lie on other machines. */
  private get storage(): string {
    return this.address.replace('127.0.0.1', 'localhost');
  }

  async stop(): Promise<void> {
    this.server.closeAllConnections();
    await new Promise((resolve) => this.server.close(resolve));
  }

  /** Adds a commit with these files. @param id "models/org/name" or "datasets/org/name" */
  put(id: string, files: Record<string, string | Buffer>): string {
    const commit = createHash('sha1')
      .update(`${id} ${this.commits++} ${COMMIT}`)
      .digest('hex');
    this.repositories.set(id, { commit, files: new Map(Object.entries(files).map(([path, bytes]) => [path, Buffer.from(bytes)])) });
    return commit;
  }

  /** The files of a repository, by their paths. */
  filesOf(id: string): Map<string, Buffer> {
    return this.repositories.get(id)?.files ?? new Map<string, Buffer>();
  }

  private async answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    this.reply(request, await bodyOf(request), response);
  }

  private reply(request: IncomingMessage, body: Buffer, response: ServerResponse): void {
    const url = new URL(request.url!, this.address);
    const path = decodeURIComponent(url.pathname);
    const { token } = this.behaviour;
    const hasToken = request.headers.authorization !== undefined;
    this.requests.push({ method: request.method!, path, range: request.headers.range, hasToken });
    const scripted = this.behaviour.first?.shift();
    if (scripted !== undefined) {
      response.writeHead(scripted.status, scripted.headers).end();
      return;
    }
    const blob = /^\/lfs\/([0-9a-f]{64})$/.exec(path)?.[1];
    if (blob !== undefined) {
      if (hasToken) response.writeHead(400).end(); // as the storage behind the hub, which takes signed addresses only
      else if (request.method === 'PUT') {
        this.lfs.set(blob, body);
        response.end();
      } else this.sendBytes(request, response, this.blobs().get(blob), blob);
      return;
    }
    if (token !== undefined && request.headers.authorization !== `Bearer ${token}`)
      return json(response, { error: 'Invalid credentials in Authorization header' }, 401);
    if (request.method === 'POST') return this.write(path, body, response);
    const [, kind, id, rest] = /^\/api\/(models|datasets)\/([^/]+\/[^/]+)\/(.*)$/.exec(path) ?? [];
    if (kind !== undefined) return this.describe(`${kind}/${id}`, rest!, response);
    const [, data, repository, , file] = /^\/(datasets\/)?([^/]+\/[^/]+)\/resolve\/([^/]+)\/(.*)$/.exec(path) ?? [];
    const bytes = this.repositories.get(`${data ?? 'models/'}${repository}`)?.files.get(file ?? '');
    if (bytes === undefined) return json(response, { error: 'Entry not found' }, 404, { 'x-error-code': 'EntryNotFound' });
    const found = this.repositories.get(`${data ?? 'models/'}${repository}`)!;
    response.setHeader('x-repo-commit', found.commit);
    if (bytes.length < LFS_FROM) {
      response.setHeader('etag', `"${gitDigest(bytes)}"`);
      return this.sendBytes(request, response, bytes, file!);
    }
    const digest = sha256(bytes);
    response.setHeader('x-linked-etag', `"${digest}"`);
    response.setHeader('x-linked-size', bytes.length);
    response.writeHead(302, { location: `${this.behaviour.redirectTo ?? this.storage}/lfs/${digest}` }).end();
  }

  private describe(id: string, rest: string, response: ServerResponse): void {
    const repository = this.repositories.get(id);
    const revision = rest.split('/')[1] ?? '';
    if (repository === undefined)
      return json(response, { error: 'Repository not found' }, this.behaviour.token === undefined ? 401 : 404, {
        'x-error-code': 'RepoNotFound',
      });
    if (!['main', repository.commit].includes(revision)) return json(response, { error: `Invalid rev id: ${revision}` }, 404);
    const siblings = [...repository.files.keys()].map((rfilename) => ({ rfilename }));
    const name = id.replace(/^\w+\//, '');
    if (rest.startsWith('revision/'))
      return json(response, {
        _id: '1',
        id: name,
        sha: repository.commit,
        lastModified: '2026-01-01T00:00:00.000Z',
        private: false,
        siblings,
        tags: [],
      });
    const tree = [...repository.files].map(([path, bytes]) => ({
      type: 'file',
      oid: gitDigest(bytes),
      size: bytes.length,
      path: this.behaviour.listedAs?.[path] ?? path,
      ...(bytes.length < LFS_FROM ? {} : { lfs: { oid: sha256(bytes), size: bytes.length, pointerSize: 130 } }),
    }));
    json(response, tree);
  }

  private blobs(): Map<string, Buffer> {
    const all = [...this.repositories.values()].flatMap(({ files }) => [...files.values()]);
    return new Map([...this.lfs, ...all.map((bytes) => [sha256(bytes), bytes] as const)]);
  }

  private sendBytes(request: IncomingMessage, response: ServerResponse, whole: Buffer | undefined, path: string): void {
    if (whole === undefined) return json(response, { error: 'not found' }, 404);
    let bytes = whole;
    const { damaged, cutAfter } = this.behaviour;
    if (damaged !== undefined && damaged.times > 0 && (damaged.path === path || sha256(whole) === damaged.path)) {
      damaged.times--;
      bytes = Buffer.alloc(bytes.length, 'x');
    }
    const from = Number(/^bytes=(\d+)-/.exec(request.headers.range ?? '')?.[1] ?? 0);
    const part = bytes.subarray(from);
    const head = {
      'content-length': part.length,
      ...(request.headers.range === undefined ? {} : { 'content-range': `bytes ${from}-${bytes.length - 1}/${bytes.length}` }),
    };
    response.writeHead(request.headers.range === undefined ? 200 : 206, head);
    if (request.method === 'HEAD') return void response.end();
    const cut = part.length >= LFS_FROM ? cutAfter?.shift() : undefined;
    if (cut === undefined) return void response.end(part);
    response.write(part.subarray(0, cut), () => response.socket?.destroy());
  }

  /** Takes uploads, as the hub's commits need them: small files inside the commit, large ones beforehand. */
  private write(path: string, body: Buffer, response: ServerResponse): void {
    const text = body.toString('utf8');
    if (path === '/api/repos/create') {
      const { name, organization, type } = JSON.parse(text) as { name: string; organization: string; type: string };
      const id = `${type}s/${organization}/${name}`;
      if (this.repositories.has(id)) return json(response, { error: 'You already created this model repo' }, 409);
      this.put(id, {});
      return json(response, { url: `${this.address}/${organization}/${name}`, id });
    }
    const [, preupload] = /^\/api\/models\/([^/]+\/[^/]+)\/preupload\//.exec(path) ?? [];
    if (preupload !== undefined) {
      const { files } = JSON.parse(text) as { files: { path: string; size: number }[] };
      return json(response, { files: files.map((file) => ({ path: file.path, uploadMode: file.size < LFS_FROM ? 'regular' : 'lfs' })) });
    }
    if (path.endsWith('.git/info/lfs/objects/batch')) {
      const { objects } = JSON.parse(text) as { objects: { oid: string; size: number }[] };
      const answered = objects.map((one) => ({ ...one, actions: { upload: { href: `${this.storage}/lfs/${one.oid}`, header: {} } } }));
      return json(response, { transfer: 'basic', objects: answered });
    }
    const [, committed] = /^\/api\/models\/([^/]+\/[^/]+)\/commit\//.exec(path) ?? [];
    const repository = this.repositories.get(`models/${committed}`);
    if (repository === undefined) return json(response, { error: 'Repository not found' }, 404);
    for (const line of text.split('\n')) {
      const { key, value } = JSON.parse(line) as { key: string; value: { path: string; content: string; oid: string } };
      if (key === 'file') repository.files.set(value.path, Buffer.from(value.content, 'base64'));
      if (key === 'lfsFile') repository.files.set(value.path, this.lfs.get(value.oid)!);
    }
    json(response, { success: true, commitOid: repository.commit, commitUrl: `${this.address}/${committed}/commit/${repository.commit}` });
  }
}

async function bodyOf(request: IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of request) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks);
}

function json(response: ServerResponse, body: unknown, status = 200, headers: Record<string, string> = {}): void {
  response.writeHead(status, { 'content-type': 'application/json', ...headers }).end(JSON.stringify(body));
}

export const sha256 = (bytes: Buffer): string => createHash('sha256').update(bytes).digest('hex');
export const gitDigest = (bytes: Buffer): string => createHash('sha1').update(`blob ${bytes.length}\0`).update(bytes).digest('hex');
