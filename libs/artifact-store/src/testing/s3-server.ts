// An S3 server written by others: moto (Debian's python3-moto), which keeps its buckets in memory. A proxy in front of it plays the faults
// of a network and of a busy store.
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { createServer, request, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { createServer as createListener, type AddressInfo, type Socket } from 'node:net';
import { delimiter, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { CreateBucketCommand, ListObjectsV2Command, PutObjectCommand, S3Client } from '@aws-sdk/client-s3';

const STARTS_WITHIN_MS = 60_000;
const BUCKET = 'artifacts';

/** Debian's program comes first, because the Python packages that it needs are installed with it. */
const programs = ['/usr/bin', ...(process.env['PATH'] ?? '').split(delimiter)].map((folder) => join(folder, 'moto_server'));
const program = programs.find((path) => existsSync(path));

/** The reason why tests with a bucket are skipped; null: they run. */
export const noS3Server: string | null = program === undefined ? 'moto_server is not installed (Debian: python3-moto)' : null;

/** Decides what the proxy does with a request; undefined: it passes the request on. */
type Fault = (request: {
  method: string;
  url: string;
}) => 'cut' | 'hang' | { status: number; code: string } | { bytes: number } | undefined;

export interface S3TestServer {
  bucket: string;
  /** The address of the proxy. */
  endpoint: string;
  /** A client that makes and reads objects without the store. */
  client: S3Client;
  /** The requests that arrived, as "PUT /artifacts/...". */
  requests: string[];
  /** The GETs that it got. */
  reads: { url: string; range: string | undefined }[];
  /** The credentials of each request, in the same order: the access key, and the token of temporary credentials. */
  callers: { accessKey: string; token: string | undefined }[];
  fault: Fault;
  /** Replaces the bytes of each object below the prefix. */
  damageAll(prefix: string): Promise<void>;
  stop(): Promise<void>;
}

/** The environment variables in which the client finds its credentials. */
export const S3_CREDENTIALS = { AWS_ACCESS_KEY_ID: 'AKIDTEST', AWS_SECRET_ACCESS_KEY: 'a-secret-of-the-test', AWS_REGION: 'us-east-1' };

// The client warns of this version of Node. And two attempts are enough in tests: the default of five only takes longer where a fault
// stays.
Object.assign(process.env, { AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED: 'true', AWS_MAX_ATTEMPTS: '2' });

export async function startS3Server(): Promise<S3TestServer> {
  const port = await freePort();
  const child = spawn(program!, ['-H', '127.0.0.1', '-p', String(port)], { stdio: 'ignore' });
  await untilAnswers(child, port);
  const proxy = new FaultyProxy(port);
  const endpoint = `http://127.0.0.1:${await proxy.listen()}`;
  const credentials = { accessKeyId: S3_CREDENTIALS.AWS_ACCESS_KEY_ID, secretAccessKey: S3_CREDENTIALS.AWS_SECRET_ACCESS_KEY };
  const client = new S3Client({ endpoint: `http://127.0.0.1:${port}`, region: 'us-east-1', forcePathStyle: true, credentials });
  await client.send(new CreateBucketCommand({ Bucket: BUCKET }));
  return {
    bucket: BUCKET,
    endpoint,
    client,
    requests: proxy.requests,
    reads: proxy.reads,
    callers: proxy.callers,
    get fault() {
      return proxy.fault;
    },
    set fault(fault: Fault) {
      proxy.fault = fault;
    },
    damageAll: async (prefix) => {
      const { Contents = [] } = await client.send(new ListObjectsV2Command({ Bucket: BUCKET, Prefix: prefix }));
      for (const { Key } of Contents) await client.send(new PutObjectCommand({ Bucket: BUCKET, Key, Body: 'other bytes' }));
    },
    stop: async () => {
      client.destroy();
      await proxy.close();
      child.kill('SIGKILL');
      if (child.exitCode === null && child.signalCode === null) await once(child, 'exit');
    },
  };
}

async function freePort(): Promise<number> {
  const server = createListener();
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}

async function untilAnswers(child: ChildProcess, port: number): Promise<void> {
  for (const until = Date.now() + STARTS_WITHIN_MS; Date.now() < until;) {
    await sleep(50);
    if (child.exitCode !== null) throw new Error(`moto_server ended with exit code ${child.exitCode}`);
    if (await fetch(`http://127.0.0.1:${port}/`).then(Boolean, () => false)) return;
  }
  throw new Error('moto_server did not answer');
}

class FaultyProxy {
  readonly requests: string[] = [];
  readonly reads: S3TestServer['reads'] = [];
  readonly callers: S3TestServer['callers'] = [];
  fault: Fault = () => undefined;
  private readonly server: Server;
  private readonly sockets = new Set<Socket>();

  constructor(private readonly port: number) {
    this.server = createServer((incoming, outgoing) => this.serve(incoming, outgoing));
    this.server.on('connection', (socket) => {
      this.sockets.add(socket);
      socket.on('close', () => this.sockets.delete(socket));
      socket.on('error', () => undefined);
    });
  }

  async listen(): Promise<number> {
    this.server.listen(0, '127.0.0.1');
    await once(this.server, 'listening');
    return (this.server.address() as AddressInfo).port;
  }

  async close(): Promise<void> {
    for (const socket of this.sockets) socket.destroy();
    this.server.close();
    await once(this.server, 'close');
  }

  private serve(incoming: IncomingMessage, outgoing: ServerResponse): void {
    const [method, url] = [incoming.method!, incoming.url!];
    this.requests.push(`${method} ${url}`);
    if (method === 'GET') this.reads.push({ url, range: incoming.headers.range });
    const accessKey = /Credential=([^/]+)/.exec(incoming.headers.authorization ?? '')?.[1] ?? '';
    this.callers.push({ accessKey, token: incoming.headers['x-amz-security-token'] as string | undefined });
    const fault = this.fault({ method, url });
    if (fault === 'hang') return;
    if (fault === 'cut') return void incoming.socket.destroy();
    if (fault !== undefined && 'status' in fault) {
      incoming.resume();
      return refuse(outgoing, method, fault.status, fault.code);
    }
    const onward = request({ port: this.port, host: '127.0.0.1', method, path: url, headers: incoming.headers }, (answer) => {
      // Where another request has just ended the upload, moto fails instead of answering as S3 does.
      if (answer.statusCode === 500 && url.includes('uploadId=')) {
        answer.resume();
        return refuse(outgoing, method, 404, 'NoSuchUpload');
      }
      outgoing.writeHead(answer.statusCode!, answer.headers);
      if (fault === undefined) return void answer.pipe(outgoing);
      let left = fault.bytes;
      answer.on('data', (chunk: Buffer) => {
        if (left >= 0)
          outgoing.write(chunk.subarray(0, left), () => {
            if (left <= 0) outgoing.destroy();
          });
        left -= chunk.byteLength;
      });
    });
    onward.on('error', () => outgoing.destroy());
    incoming.pipe(onward);
  }
}

function refuse(outgoing: ServerResponse, method: string, status: number, code: string): void {
  outgoing.writeHead(status, { 'content-type': 'application/xml' });
  const text = `<?xml version="1.0"?><Error><Code>${code}</Code><Message>played by the test</Message></Error>`;
  outgoing.end(method === 'HEAD' ? undefined : text);
}
