import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { mkdtemp, readdir, rm, truncate, utimes, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  CreateMultipartUploadCommand,
  DeleteObjectCommand,
  ListMultipartUploadsCommand,
  ListObjectsV2Command,
  ListPartsCommand,
  PutObjectCommand,
  UploadPartCommand,
} from '@aws-sdk/client-s3';
import { digestOfSlices } from '#files';
import type { ArtifactStore, ArtifactToWrite, SignedPart } from '../artifact-store.js';
import { digestOf } from '../digest.js';
import { openArtifactStore } from '../open-artifact-store.js';
import { noS3Server, S3_CREDENTIALS, startS3Server, type S3TestServer } from '../testing/s3-server.js';
import { describesAnArtifactStore } from '../testing/store-contract.js';
import { FileCache } from './file-cache.js';
import { PART_BYTES } from './s3-upload.js';

const describeBucket = noS3Server === null ? describe : describe.skip;
const title = noS3Server === null ? 'artifacts in a bucket' : `artifacts in a bucket (skipped: ${noS3Server})`;

describeBucket(title, () => {
  let server: S3TestServer;
  let folder: string;
  let store: ArtifactStore;
  let prefix = '';
  let stores = 0;
  const CACHE_BYTES = 200 << 20;

  beforeAll(async () => {
    Object.assign(process.env, S3_CREDENTIALS);
    server = await startS3Server();
  });
  afterAll(() => server.stop());
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'espalier-s3-'));
    prefix = `lab/${(stores += 1)}/`;
    server.fault = () => undefined;
    server.requests.length = 0;
    server.callers.length = 0;
    store = await opened();
  });
  afterEach(() => rm(folder, { recursive: true, force: true }));

  const opened = (cache = 'cache', cacheBytes = CACHE_BYTES): Promise<ArtifactStore> =>
    openArtifactStore({ bucket: server.bucket, prefix, endpoint: server.endpoint, cacheFolder: join(folder, cache), cacheBytes });
  const keyOf = (digest: string): string => `${prefix}objects/${digest.slice(0, 2)}/${digest}`;
  const cached = (digest: string): string => join(folder, 'cache/objects', digest.slice(0, 2), digest);
  const asked = (what: string): string[] => server.requests.filter((request) => request.startsWith(what));
  const large = (bytes: number): Buffer => {
    const content = Buffer.alloc(bytes);
    for (let at = 0; at < bytes; at += 4_096) content.writeUInt32LE(at, Math.min(at, bytes - 4));
    return content;
  };
  const incoming = async (bytes: Uint8Array, to = store): Promise<string> => {
    const path = to.incoming.newPath();
    await writeFile(path, bytes);
    return path;
  };

  describesAnArtifactStore(() => ({
    store,
    damage: async (digest, bytes) => {
      await server.client.send(new PutObjectCommand({ Bucket: server.bucket, Key: keyOf(digest), Body: bytes }));
      await rm(cached(digest), { force: true });
    },
  }));

  test('the keys are the names of an artifact folder, so that a folder can be copied as it is', async () => {
    const { digest } = await store.put(Buffer.from('a state'));
    await store.owner.write('the name', false);
    const listed = await server.client.send(new ListObjectsV2Command({ Bucket: server.bucket, Prefix: prefix }));
    expect(listed.Contents?.map(({ Key }) => Key).sort()).toEqual([`${prefix}event-store.id`, keyOf(digest)].sort());
  });

  test('a large file goes up in parts, and comes back whole and from the middle', async () => {
    const content = large(PART_BYTES + 5);
    const { digest } = await store.put(content);
    expect(asked(`PUT /${server.bucket}/${keyOf(digest)}?`)).toHaveLength(2);
    const fresh = await opened('another');
    expect(digestOf(await fresh.get(digest))).toBe(digest);
    const tail: Uint8Array[] = [];
    for await (const chunk of (await opened('third')).open(digest, PART_BYTES - 3)) tail.push(chunk);
    expect(Buffer.compare(Buffer.concat(tail), content.subarray(PART_BYTES - 3))).toBe(0);
  });

  test('an upload that a crash cut short goes on with the parts that are there, and replaces those that differ', async () => {
    const content = large(2 * PART_BYTES + 100);
    const digest = digestOf(content);
    const [Bucket, Key] = [server.bucket, keyOf(digest)];
    const { UploadId } = await server.client.send(new CreateMultipartUploadCommand({ Bucket, Key, ChecksumAlgorithm: 'SHA256' }));
    const part = (number: number, bytes: Uint8Array) =>
      server.client.send(new UploadPartCommand({ Bucket, Key, UploadId, PartNumber: number, Body: bytes, ChecksumSHA256: sumOf(bytes) }));
    await part(1, content.subarray(0, PART_BYTES));
    await part(2, Buffer.alloc(PART_BYTES, 9));
    server.requests.length = 0;
    await store.adopt(await incoming(content), digest);
    const sent = asked('PUT').map((request) => /partNumber=(\d)/.exec(request)?.[1]);
    expect(sent.sort()).toEqual(['2', '3']);
    expect(await store.verify(digest)).toBe('ok');
    const open = await server.client.send(new ListMultipartUploadsCommand({ Bucket, Prefix: Key }));
    expect(open.Uploads ?? []).toEqual([]);
  });

  describe('by signed addresses', () => {
    const partsOf = (content: Uint8Array): Buffer[] => {
      const parts: Buffer[] = [];
      for (let at = 0; at < content.byteLength; at += PART_BYTES) parts.push(Buffer.from(content.subarray(at, at + PART_BYTES)));
      return parts;
    };
    const toWrite = (content: Uint8Array): ArtifactToWrite => ({
      digest: digestOf(content),
      bytes: content.byteLength,
      partSums: partsOf(content).map((part) => Buffer.from(sumOf(part), 'base64')),
      mediaType: 'application/x-safetensors',
      slices: [],
    });
    /** Has the parts written that the store asks for. Resolves to these parts. */
    const written = async (content: Uint8Array, artifact = toWrite(content)): Promise<SignedPart[]> => {
      const parts: SignedPart[] = [];
      await store.addresses!.write(artifact, (asked) => {
        parts.push(...asked);
        return Promise.all(asked.map((part) => send(content, part)));
      });
      return parts;
    };
    /** Writes as a machine without credentials would. */
    const send = async (content: Uint8Array, { url, headers, offset, bytes }: SignedPart): Promise<string> => {
      const answer = await fetch(url, { method: 'PUT', headers, body: Buffer.from(content.subarray(offset, offset + bytes)) });
      expect(answer.status).toBe(200);
      return answer.headers.get('etag') ?? '';
    };

    test.each([
      ['a small artifact in one request', 1_000, 1],
      ['a large one in parts', PART_BYTES + 5, 2],
    ])('another machine writes %s, and reads it', async (_what, bytes, parts) => {
      const content = large(bytes);
      const { digest } = toWrite(content);
      expect(await written(content)).toHaveLength(parts);
      expect(await store.verify(digest)).toBe('ok');
      expect(await store.stat(digest)).toMatchObject({ bytes });
      const [address] = await store.addresses!.toRead(digest);
      const read = await fetch(address!);
      expect(digestOf(new Uint8Array(await read.arrayBuffer()))).toBe(digest);
      expect(await written(content)).toEqual([]);
    });

    test('another machine writes an artifact in slices, one after the other, and reads them', async () => {
      const content = large(2 * PART_BYTES + 9);
      const pieces = [content.subarray(0, PART_BYTES + 4), content.subarray(PART_BYTES + 4)];
      const slices = pieces.map((piece) => ({ digest: digestOf(piece), bytes: piece.byteLength }));
      const digest = digestOfSlices(slices);
      const partSums = pieces.flatMap((piece) => partsOf(piece).map((part) => Buffer.from(sumOf(part), 'base64')));
      const artifact = { digest, bytes: content.byteLength, partSums, slices, mediaType: 'application/x-safetensors' };
      expect(await written(content, artifact)).toHaveLength(4);
      expect(await store.verify(digest)).toBe('ok');
      const read = await Promise.all((await store.addresses!.toRead(digest)).map((address) => fetch(address)));
      const bytes = await Promise.all(read.map(async (one) => Buffer.from(await one.arrayBuffer())));
      expect(bytes.map(digestOf)).toEqual(slices.map((slice) => slice.digest));
      expect(await written(content, artifact)).toEqual([]);
    });

    test('parts that an earlier try has written are not asked for again', async () => {
      const content = large(PART_BYTES + 5);
      const [Bucket, Key] = [server.bucket, keyOf(digestOf(content))];
      const { UploadId } = await server.client.send(new CreateMultipartUploadCommand({ Bucket, Key, ChecksumAlgorithm: 'SHA256' }));
      const first = partsOf(content)[0]!;
      const part = { Bucket, Key, UploadId, PartNumber: 1, Body: first, ChecksumSHA256: sumOf(first) };
      await server.client.send(new UploadPartCommand(part));
      const { Parts } = await server.client.send(new ListPartsCommand({ Bucket, Key, UploadId }));
      // A server that keeps no sums of parts can't say whether its bytes are these.
      const asked = Parts![0]!.ChecksumSHA256 === undefined ? [0, PART_BYTES] : [PART_BYTES];
      expect((await written(content)).map(({ offset }) => offset)).toEqual(asked);
      expect(await store.verify(digestOf(content))).toBe('ok');
      const open = await server.client.send(new ListMultipartUploadsCommand({ Bucket, Prefix: Key }));
      expect(open.Uploads ?? []).toEqual([]);
    });

    test('an artifact that is set aside comes back; a damaged one is replaced by this machine alone, which checks the bytes', async () => {
      const content = large(2_000);
      const { digest } = await store.put(content);
      await store.quarantine.moveIn(digest);
      expect(await written(content)).toEqual([]);
      expect(await digestsIn(store)).toEqual([digest]);
      await server.client.send(new PutObjectCommand({ Bucket: server.bucket, Key: keyOf(digest), Body: Buffer.alloc(2_000, 9) }));
      await expect(written(content)).rejects.toMatchObject({ code: 'ARTIFACT_CORRUPT' });
      await store.put(content);
      expect(await store.verify(digest)).toBe('ok');
      // A machine that says of other bytes that they have this digest is given no address to write them.
      const other = { ...toWrite(large(3_000)), digest };
      await expect(written(large(3_000), other)).rejects.toMatchObject({ code: 'ARTIFACT_CORRUPT' });
      expect(await store.verify(digest)).toBe('ok');
    });

    test('a writer that has not written is found out', async () => {
      await expect(store.addresses!.write(toWrite(large(500)), () => Promise.resolve(['']))).rejects.toMatchObject({
        code: 'ARTIFACT_STORE_UNAVAILABLE',
      });
    });

    test('the sum of the bytes is signed, so that no other bytes can be sent as these', async () => {
      const { url, headers } = (await written(large(500)))[0]!;
      expect(headers['x-amz-checksum-sha256']).toBe(sumOf(large(500)));
      expect(new URL(url).searchParams.get('X-Amz-SignedHeaders')).toContain('x-amz-checksum-sha256');
      expect(url).not.toContain(S3_CREDENTIALS.AWS_SECRET_ACCESS_KEY);
    });
  });

  test('two servers that send one large file at once both succeed', async () => {
    const content = large(PART_BYTES + 1);
    const digest = digestOf(content);
    const other = await opened('another');
    const files = [await incoming(content), await incoming(content, other)];
    await Promise.all([store.adopt(files[0]!, digest), other.adopt(files[1]!, digest)]);
    expect(await store.verify(digest)).toBe('ok');
  });

  test('an artifact that is there is not sent again', async () => {
    const content = large(PART_BYTES + 1);
    const { digest } = await store.put(content);
    server.requests.length = 0;
    await store.put(content);
    expect(asked('PUT')).toEqual([]);
    expect(await store.verify(digest)).toBe('ok');
  });

  test('a file with other bytes than its writer says is not sent', async () => {
    const path = await incoming(Buffer.from('half a sta'));
    await expect(store.adopt(path, digestOf(Buffer.from('half a state')))).rejects.toMatchObject({ code: 'ARTIFACT_CORRUPT' });
    expect(asked('PUT')).toEqual([]);
  });

  test('what was sent or read lately is read from this machine', async () => {
    const { digest } = await store.put(Buffer.from('lately'));
    const other = await opened('another');
    await other.get(digest);
    server.requests.length = 0;
    expect(Buffer.from(await store.get(digest)).toString()).toBe('lately');
    expect(Buffer.from(await other.get(digest)).toString()).toBe('lately');
    expect(store.fileOf(digest)).toBe(cached(digest));
    expect(server.requests).toEqual([]);
  });

  test('a damaged file of the cache is read from the bucket instead', async () => {
    const { digest } = await store.put(Buffer.from('whole in the bucket'));
    await writeFile(cached(digest), 'other in the cache!');
    expect(Buffer.from(await store.get(digest)).toString()).toBe('whole in the bucket');
    const next = await opened(); // a new process, as after a power cut
    await truncate(cached(digest), 3);
    expect(Buffer.from(await next.get(digest)).toString()).toBe('whole in the bucket');
  });

  test('the bucket is the truth: a whole copy of this machine proves nothing', async () => {
    const { digest } = await store.put(Buffer.from('only here'));
    await server.client.send(new DeleteObjectCommand({ Bucket: server.bucket, Key: keyOf(digest) }));
    expect(await store.verify(digest)).toBe('missing');
    expect(await store.stat(digest)).toBeNull();
  });

  test('the cache keeps its limit: the file that was used least recently goes, in the next life of the process too', async () => {
    const [a, b, c] = ['a', 'b', 'c'].map((letter) => Buffer.alloc(1_000, letter));
    const small = await opened('cache', 2_500);
    const digests = [];
    for (const content of [a!, b!]) digests.push((await small.put(content)).digest);
    await utimes(cached(digests[0]!), 100, 100);
    await utimes(cached(digests[1]!), 200, 200);
    const next = await opened('cache', 2_500);
    await next.get(digests[0]!);
    await next.put(c!);
    expect([existsSync(cached(digests[0]!)), existsSync(cached(digests[1]!))]).toEqual([true, false]);
    expect(Buffer.compare(Buffer.from(await next.get(digests[1]!)), b!)).toBe(0);
    const none = await opened('cache', 0);
    expect((await readdir(join(folder, 'cache/objects'), { recursive: true })).filter((name) => name.length > 60)).toEqual([]);
    expect(Buffer.compare(Buffer.from(await none.get(digests[0]!)), a!)).toBe(0);
  });

  test('the cache leaves room on its disk for others', async () => {
    const [cache, file] = [await FileCache.open(join(folder, 'small-disk'), CACHE_BYTES, 2 ** 60), join(folder, 'file')];
    await writeFile(file, 'bytes');
    await cache.admit(file, digestOf(Buffer.from('bytes')), 5);
    expect(cache.fileOf(digestOf(Buffer.from('bytes')))).toBeNull();
    expect(existsSync(file)).toBe(false);
  });

  test('a connection that breaks in the middle of an object goes on where it broke', async () => {
    const content = large(3_000_000);
    const { digest } = await store.put(content);
    const fresh = await opened('another');
    let breaks = 0;
    server.fault = ({ method }) => (method === 'GET' && (breaks += 1) <= 3 ? { bytes: 700_000 } : undefined);
    expect(digestOf(await fresh.get(digest))).toBe(digest);
    expect(breaks).toBe(4);
  });

  test.each([
    ['a connection that breaks at once', 'cut' as const, 'ARTIFACT_STORE_UNAVAILABLE'],
    ['an error of the server', { status: 500, code: 'InternalError' }, 'ARTIFACT_STORE_UNAVAILABLE'],
    ['a busy server', { status: 503, code: 'SlowDown' }, 'ARTIFACT_STORE_BUSY'],
    ['a temporary token that has expired', { status: 400, code: 'ExpiredToken' }, 'ARTIFACT_STORE_DENIED'],
    ['a policy that forbids it', { status: 403, code: 'AccessDenied' }, 'ARTIFACT_STORE_DENIED'],
    ['a clock that is wrong', { status: 403, code: 'RequestTimeTooSkewed' }, 'ARTIFACT_STORE_CLOCK'],
    ['a full server', { status: 507, code: 'XMinioStorageFull' }, 'ARTIFACT_STORE_FULL'],
    ['a 404 of something that is not a bucket', { status: 404, code: 'PageNotFound' }, 'ARTIFACT_STORE_UNAVAILABLE'],
  ])('%s is told by its code and loses nothing', async (_what, fault, code) => {
    const before = await store.put(Buffer.from('before'));
    const changes: unknown[] = [];
    store.reach!.onChange(() => changes.push(store.reach!.problem?.code ?? 'answers'));
    server.fault = () => fault;
    const path = await incoming(Buffer.from('while it fails'));
    const digest = digestOf(Buffer.from('while it fails'));
    await expect(store.adopt(path, digest)).rejects.toMatchObject({ code, digest });
    expect(existsSync(path)).toBe(true);
    const fresh = await opened('another');
    await expect(fresh.get(before.digest)).rejects.toMatchObject({ code });
    await expect(fresh.verify(before.digest)).rejects.toMatchObject({ code }); // the artifact counts neither as missing nor as corrupt
    await expect(fresh.stat(before.digest)).rejects.toMatchObject({ code });
    server.fault = () => undefined;
    await store.adopt(path, digest);
    expect(await store.verify(digest)).toBe('ok');
    expect(changes).toEqual([code, 'answers']);
  });

  test('a bucket that is gone is not a missing artifact', async () => {
    const nowhere = await openArtifactStore({
      bucket: 'nowhere',
      prefix,
      endpoint: server.endpoint,
      cacheFolder: join(folder, 'nowhere'),
      cacheBytes: 0,
    });
    const digest = digestOf(Buffer.from('x'));
    for (const look of [nowhere.get(digest), nowhere.stat(digest), nowhere.verify(digest), nowhere.owner.read(), nowhere.delete(digest)])
      await expect(look).rejects.toMatchObject({ code: 'ARTIFACT_STORE_NOT_FOUND' });
    await expect(nowhere.put(Buffer.from('x'))).rejects.toMatchObject({ code: 'ARTIFACT_STORE_NOT_FOUND' });
  });

  test('a server that answers a few times that it is busy is asked again', async () => {
    process.env['AWS_MAX_ATTEMPTS'] = '5';
    store = await opened();
    process.env['AWS_MAX_ATTEMPTS'] = '2';
    let busy = 3;
    server.fault = ({ method }) => (method === 'PUT' && (busy -= 1) >= 0 ? { status: 503, code: 'SlowDown' } : undefined);
    const { digest } = await store.put(Buffer.from('patience'));
    expect(await store.verify(digest)).toBe('ok');
    expect(store.reach!.problem).toBeNull();
  });

  test('an upload goes on with the parts that are there when the connection breaks in it', async () => {
    const content = large(2 * PART_BYTES);
    const digest = digestOf(content);
    let parts = 0;
    server.fault = ({ url }) => (url.includes('partNumber=2') && (parts += 1) < 100 ? 'cut' : undefined);
    const path = await incoming(content);
    await expect(store.adopt(path, digest)).rejects.toMatchObject({ code: 'ARTIFACT_STORE_UNAVAILABLE' });
    expect(await store.stat(digest)).toBeNull();
    server.fault = () => undefined;
    server.requests.length = 0;
    await store.adopt(path, digest);
    expect(asked('PUT').map((request) => /partNumber=(\d)/.exec(request)?.[1])).toEqual(['2']);
    expect(await store.verify(digest)).toBe('ok');
  });

  test('the answer to a completion that got lost costs nothing', async () => {
    const content = large(PART_BYTES + 1);
    let lost = false;
    server.fault = ({ method, url }) => {
      if (method !== 'POST' || !url.includes('uploadId=') || lost) return undefined;
      lost = true;
      return { bytes: 0 };
    };
    const { digest } = await store.put(content);
    expect(lost).toBe(true);
    expect(await store.verify(digest)).toBe('ok');
  });

  test('a server that has worked with the bucket knows its name while the bucket is away; another one says what is wrong', async () => {
    await store.owner.write('the name', false);
    server.fault = () => ({ status: 403, code: 'ExpiredToken' });
    expect(await (await opened()).owner.read()).toBe('the name');
    await expect((await opened('another')).owner.read()).rejects.toMatchObject({ code: 'ARTIFACT_STORE_DENIED' });
  });

  test('a server whose event store was not the first remembers no name', async () => {
    const other = await opened('another');
    await store.owner.write('one', false);
    await other.owner.write('another', false);
    server.fault = () => 'cut';
    await expect(other.owner.read()).rejects.toMatchObject({ code: 'ARTIFACT_STORE_UNAVAILABLE' });
  });

  test('writing that failed is found to work again by a probe', async () => {
    await store.owner.write('one', false);
    server.fault = ({ method }) => (method === 'PUT' ? { status: 403, code: 'AccessDenied' } : undefined);
    await expect(store.put(Buffer.from('x'))).rejects.toMatchObject({ code: 'ARTIFACT_STORE_DENIED' });
    await store.stat(digestOf(Buffer.from('x')));
    expect(store.reach!.problem?.code).toBe('ARTIFACT_STORE_DENIED'); // reading works, which proves nothing about writing
    server.fault = () => undefined;
    await store.reach!.probe('write');
    expect(store.reach!.problem).toBeNull();
    expect(await store.owner.read()).toBe('one');
  });

  test('what is not an artifact is listed apart, and disturbs no list', async () => {
    const { digest } = await store.put(Buffer.from('mine'));
    const stranger = `${prefix}objects/notes.txt`;
    await server.client.send(new PutObjectCommand({ Bucket: server.bucket, Key: stranger, Body: 'yours' }));
    const listed = [];
    for await (const entry of store.list()) listed.push(entry.digest);
    expect(listed).toEqual([digest]);
    const unknownFiles = [];
    for await (const key of store.unknownFiles()) unknownFiles.push(key);
    expect(unknownFiles).toEqual([stranger]);
  });

  test('an artifact in slices whose removal was cut off is not there, and the next removal ends it', async () => {
    const pieces = [Buffer.alloc(3_000, 1), Buffer.alloc(2_000, 2)];
    const slices = pieces.map((piece) => ({ digest: digestOf(piece), bytes: piece.byteLength }));
    const { digest } = await store.put(Buffer.concat(pieces), { slices });
    await store.quarantine.moveIn(digest);
    server.fault = ({ method, url }) =>
      method === 'DELETE' && url.includes(slices[1]!.digest) ? { status: 403, code: 'AccessDenied' } : undefined;
    await expect(store.quarantine.remove(digest)).rejects.toMatchObject({ code: 'ARTIFACT_STORE_DENIED' });
    server.fault = () => undefined;
    expect([await store.stat(digest), await store.verify(digest)]).toEqual([null, 'missing']);
    const unknownFiles = [];
    for await (const key of store.unknownFiles()) unknownFiles.push(key);
    expect(unknownFiles).toEqual([`${prefix}slices/${digest}`]);
    const aside = [];
    for await (const entry of store.quarantine.list()) aside.push(entry.digest);
    expect(aside).toEqual([digest]);
    expect(await store.quarantine.remove(digest)).toBe(true);
    for await (const key of store.unknownFiles()) expect(key).toBeUndefined();
    expect(await store.quarantine.remove(digest)).toBe(false);
  });

  describe('credentials', () => {
    let before: NodeJS.ProcessEnv;
    beforeEach(() => {
      before = { ...process.env };
      delete process.env['AWS_ACCESS_KEY_ID'];
      delete process.env['AWS_SECRET_ACCESS_KEY'];
    });
    afterEach(() => {
      process.env = before;
    });
    /** Asks for an artifact and returns who asked. Another store may ask for others meanwhile. */
    const callerBy = async (store: ArtifactStore) => {
      const digest = digestOf(Buffer.from('x'));
      await store.stat(digest);
      return server.callers[server.requests.findLastIndex((request) => request.includes(digest))];
    };
    const caller = async () => callerBy(await opened('another'));

    test('may be temporary ones of the environment', async () => {
      Object.assign(process.env, { AWS_ACCESS_KEY_ID: 'ASIATEMP', AWS_SECRET_ACCESS_KEY: 'secret', AWS_SESSION_TOKEN: 'a token' });
      expect(await caller()).toEqual({ accessKey: 'ASIATEMP', token: 'a token' });
    });

    test('may be those of a profile', async () => {
      const file = join(folder, 'credentials');
      await writeFile(file, '[lab]\naws_access_key_id = AKIALAB\naws_secret_access_key = secret\n');
      Object.assign(process.env, { AWS_SHARED_CREDENTIALS_FILE: file, AWS_PROFILE: 'lab' });
      expect(await caller()).toEqual({ accessKey: 'AKIALAB', token: undefined });
    });

    test('may be those of a role of the container, and are renewed when they end', async () => {
      let given = 0;
      const role = createServer((_request, response) => {
        given += 1;
        const soon = new Date(Date.now() + (given === 1 ? 1_000 : 3_600_000)).toISOString();
        response.setHeader('content-type', 'application/json');
        response.end(JSON.stringify({ AccessKeyId: `ASIA${given}`, SecretAccessKey: 'secret', Token: `token ${given}`, Expiration: soon }));
      });
      role.listen(0, '127.0.0.1');
      await once(role, 'listening');
      const { port } = role.address() as AddressInfo;
      Object.assign(process.env, {
        AWS_CONTAINER_CREDENTIALS_FULL_URI: `http://127.0.0.1:${port}/role`,
        AWS_SHARED_CREDENTIALS_FILE: '/no/such/file',
        AWS_CONFIG_FILE: '/no/such/file',
      });
      try {
        const fresh = await opened('another');
        const seen = [await callerBy(fresh), await callerBy(fresh), await callerBy(fresh)];
        expect(seen.map((one) => one!.token)).toEqual(['token 1', 'token 2', 'token 2']);
        expect(seen.map((one) => one!.accessKey)).toEqual(['ASIA1', 'ASIA2', 'ASIA2']);
      } finally {
        role.close();
      }
    });

    test('that are nowhere are told as such', async () => {
      Object.assign(process.env, {
        AWS_SHARED_CREDENTIALS_FILE: '/no/such/file',
        AWS_CONFIG_FILE: '/no/such/file',
        AWS_EC2_METADATA_DISABLED: 'true',
      });
      await expect(caller()).rejects.toMatchObject({
        code: 'ARTIFACT_STORE_DENIED',
        message: expect.stringContaining('credentials') as string,
      });
    });
  });

  test('no message holds a credential', async () => {
    server.fault = () => ({ status: 403, code: 'SignatureDoesNotMatch' });
    const error = (await store.put(Buffer.from('x')).catch((thrown: unknown) => thrown)) as Error;
    expect(error.message).toContain('SignatureDoesNotMatch');
    for (const secret of Object.values(S3_CREDENTIALS).slice(0, 2)) expect(error.message).not.toContain(secret);
  });
});

async function digestsIn(store: ArtifactStore): Promise<string[]> {
  const digests: string[] = [];
  for await (const { digest } of store.list()) digests.push(digest);
  return digests;
}

const sumOf = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('base64');
