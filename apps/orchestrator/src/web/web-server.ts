// Serves HTTP for browsers at one address: the dashboard's files, the link that lets a browser in, and espalier.v1 over Connect and
// gRPC-Web. The rules of gRPC calls hold here, too: the token (or the cookie that stands for it), the limit of open calls, request ids,
// checks of requests, and errors with stable codes.
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { fileURLToPath } from 'node:url';
import { Inject, Injectable } from '@nestjs/common';
import { createConnectRouter, createContextValues } from '@connectrpc/connect';
import type { UniversalHandler } from '@connectrpc/connect/protocol';
import { codeToHttpStatus } from '@connectrpc/connect/protocol-connect';
import { universalRequestFromNodeRequest, universalResponseToNodeResponse } from '@connectrpc/connect-node';
import { EspalierError, REQUEST_BYTES_MAX, REQUEST_ID_HEADER, reportFailure, ROLES, toEspalierError } from '#protocol';
import { Access, isOpenMethod, requireAtLeast, ANONYMOUS } from '../api/admission/access.js';
import { Callers } from '../api/admission/callers.js';
import { OpenCalls, WITHOUT_TOKEN } from '../api/admission/call-limits.js';
import { Doors } from '../api/admission/doors.js';
import { PublicServices } from '../api/public-services.js';
import { requestIdOf } from '../api/admission/request-ids.js';
import { Logins } from '../logins/logins.js';
import { OPEN_CALLS } from '../provider-names.js';
import { CALL_METADATA, callMetadata, connectRoutes, toConnectError } from './connect-routes.js';
import { ANSWER_COMPRESSIONS, COMPRESSED_BYTES_MIN, encodingFor } from './compression.js';
import { METRICS_PATH, MetricsPage } from './metrics-page.js';
import { isLoginPath, LoginPages } from './login-pages.js';
import { PageFiles } from './page-files.js';
import { refuse, sendText } from './http-answers.js';
import { readBody, requireMessage } from './request-message.js';
import { WebAccess, type WebSecrets } from './web-access.js';

const PAGE_FOLDER = fileURLToPath(new URL('../../../../dashboard', import.meta.url)); // from dist/apps/orchestrator/src/web
/** The paths for health checks, which need no token: whether the server answers, and whether it can record. */
const HEALTH_PATHS = { live: '/health/live', ready: '/health/ready' };
const API_PATH = /^\/espalier\.v1\.\w+\/\w+$/;
const GRACE_MS = 2_000;
/** The time that a client has to send its request before its connection is closed. The time of an answer is not limited. */
const ASKING = { headersTimeout: 10_000, requestTimeout: 30_000, connectionsCheckingInterval: 1_000, keepAliveTimeout: 5_000 };
/** A connection that stops reading a file of the page is closed after this time. */
const UNREAD_PAGE_MS = 30_000;

/** A page may contain only what this server sends, and no other page may embed it. */
const HEADERS = {
  'content-security-policy':
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; connect-src 'self'; " +
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
  'x-content-type-options': 'nosniff',
  'referrer-policy': 'no-referrer',
  'cross-origin-opener-policy': 'same-origin',
  'cross-origin-resource-policy': 'same-origin',
};

@Injectable()
export class WebServer {
  private server: Server | null = null;
  private readonly stopping = new AbortController();
  private readonly files = new PageFiles(PAGE_FOLDER);
  private readonly loginPages: LoginPages;
  /** The counts of calls that need no token. */
  private readonly openCalls = new OpenCalls(WITHOUT_TOKEN);
  private known: ReadonlyMap<string, UniversalHandler> | null = null;
  private isServing = true;

  constructor(
    @Inject(PublicServices) private readonly services: PublicServices,
    @Inject(Access) private readonly access: Access,
    @Inject(Callers) private readonly callers: Callers,
    @Inject(Doors) private readonly doors: Doors,
    @Inject(MetricsPage) private readonly metricsPage: MetricsPage,
    @Inject(OPEN_CALLS) private readonly calls: OpenCalls,
    @Inject(Logins) logins: Logins,
  ) {
    this.loginPages = new LoginPages(logins);
  }

  /** The methods by their paths. They are made from the descriptors at the first call, because that takes a tenth of a server's start. */
  private get methods(): ReadonlyMap<string, UniversalHandler> {
    if (this.known !== null) return this.known;
    const router = createConnectRouter({
      grpc: false, // gRPC has a port of its own
      acceptCompression: ANSWER_COMPRESSIONS,
      compressMinBytes: COMPRESSED_BYTES_MIN,
      readMaxBytes: REQUEST_BYTES_MAX,
      jsonOptions: { ignoreUnknownFields: false },
      shutdownSignal: this.stopping.signal,
    });
    connectRoutes(this.services.all)(router);
    this.known = new Map(router.handlers.map((handler) => [handler.requestPath, handler]));
    return this.known;
  }

  /**
   * Starts the server. Returns the page's address, such as "http://127.0.0.1:7434".
   * @param address the address as host:port; another port is taken where `orAnyPort` is set and this one is taken
   * @throws EspalierError LISTEN_FAILED
   */
  async listen(address: string, secrets: WebSecrets, orAnyPort = false): Promise<string> {
    const host = address.replace(/:\d+$/, '').replace(/^\[(.*)\]$/, '$1');
    const access = new WebAccess(this.access, secrets, host);
    const server = createServer(ASKING, (request, response) => {
      this.serve(access, request, response).catch((error: unknown) => fail(error, request, response));
    });
    const { port } = await this.doors.ofWeb(server, address, orAnyPort);
    this.server = server;
    const { tls } = secrets;
    if (tls === null) return `http://${bracketed(host)}:${port}`;
    return `https://${bracketed(tls.isFor(host) ? host : tls.name)}:${port}`;
  }

  /** Tells health checks whether this server can work, as the health service of gRPC does. */
  setServing(serving: boolean): void {
    this.isServing = serving;
  }

  async close(): Promise<void> {
    const { server } = this;
    if (server === null) return;
    this.setServing(false);
    this.stopping.abort(toConnectError(new EspalierError('SHUTTING_DOWN', 'the server is stopping')));
    const closed = new Promise<void>((resolve) => server.close(() => resolve()));
    server.closeIdleConnections();
    const force = setTimeout(() => server.closeAllConnections(), GRACE_MS);
    await closed;
    clearTimeout(force);
  }

  private async serve(access: WebAccess, request: IncomingMessage, response: ServerResponse): Promise<void> {
    for (const [name, value] of Object.entries(HEADERS)) response.setHeader(name, value);
    const path = (request.url ?? '/').replace(/\?.*$/s, '');
    const isCall = API_PATH.test(path);
    const foreign = access.foreignHost(request);
    if (!isCall) response.setTimeout(UNREAD_PAGE_MS, () => response.destroy());
    if (isCall) await this.call(access, path, foreign ?? access.foreignOrigin(request), request, response);
    else if (foreign !== undefined) sendText(response, 403, foreign.message);
    else if (isLoginPath(path)) await this.loginPages.serve(path, access, request, response);
    else if (request.method !== 'GET' && request.method !== 'HEAD')
      sendText(response, 405, 'only GET is allowed here', { allow: 'GET, HEAD' });
    else if (path === HEALTH_PATHS.live) sendText(response, 200, 'the server answers');
    else if (path === HEALTH_PATHS.ready)
      if (this.isServing) sendText(response, 200, 'the server can record');
      else sendText(response, 503, 'nothing can be recorded now: espalier status names the cause');
    else if (path === METRICS_PATH) await this.metrics(access, request, response);
    else await this.page(path, request, response);
  }

  private async call(
    access: WebAccess,
    path: string,
    foreign: EspalierError | undefined,
    request: IncomingMessage,
    response: ServerResponse,
  ): Promise<void> {
    const { id, problem } = requestIdOf(request.headersDistinct[REQUEST_ID_HEADER] ?? []);
    const metadata = callMetadata(id);
    response.setHeader(REQUEST_ID_HEADER, id);
    response.setHeader('cache-control', 'no-store');
    const method = this.methods.get(path);
    try {
      if (foreign !== undefined) throw foreign;
      const isOpen = isOpenMethod(path);
      const grant = isOpen ? ANONYMOUS : await access.grantOf(request);
      const calls = isOpen ? this.openCalls : this.calls;
      const refusal = problem ?? calls.refusal(clientOf(request));
      if (refusal !== undefined) throw refusal;
      if (method === undefined) {
        sendText(response, 404, `there is no method ${path}`);
        return;
      }
      this.callers.admit(path, metadata, grant);
      if (!this.callers.remember(metadata, request.socket)) return void response.destroy();
      this.admit(request, response, calls);
      const contextValues = createContextValues().set(CALL_METADATA, metadata);
      const asked = universalRequestFromNodeRequest(request, response, undefined, contextValues);
      const body = await readBody(request);
      requireMessage(path, request.headers, body);
      const answer = await method({ ...asked, body: oneChunk(body) });
      await universalResponseToNodeResponse(answer, response);
    } catch (error) {
      if (response.headersSent || response.destroyed) throw error;
      const known = toEspalierError(error);
      reportFailure(path, known, metadata);
      refuse(toConnectError(known), request, response);
    }
  }

  /** Answers the page of metrics, which viewers may read. Prometheus shows a token as other programs do. */
  private async metrics(access: WebAccess, request: IncomingMessage, response: ServerResponse): Promise<void> {
    try {
      requireAtLeast(ROLES.viewer, await access.grantOf(request), 'the page of metrics is');
      const refusal = this.calls.refusal(clientOf(request));
      if (refusal !== undefined) throw refusal;
    } catch (error) {
      const known = toEspalierError(error);
      reportFailure(METRICS_PATH, known, callMetadata(''));
      sendText(response, codeToHttpStatus(toConnectError(known).code), known.message);
      return;
    }
    this.admit(request, response, this.calls);
    const text = await this.metricsPage.text();
    response.writeHead(200, { 'content-type': this.metricsPage.type, 'cache-control': 'no-store' });
    response.end(request.method === 'HEAD' ? undefined : text);
  }

  /** Counts the call until its answer ends. If the call has shown a token, its connection is not closed to make room for others. */
  private admit(request: IncomingMessage, response: ServerResponse, calls: OpenCalls): void {
    const client = clientOf(request);
    if (calls === this.calls) this.doors.trust(request.socket);
    calls.add(client, 1);
    response.once('close', () => calls.add(client, -1));
  }

  private async page(path: string, request: IncomingMessage, response: ServerResponse): Promise<void> {
    const file = this.files.at(path);
    if (file === undefined) {
      sendText(response, 404, `there is no ${path} here${this.files.areBuilt ? '' : ": the dashboard's files are missing, npm run build"}`);
      return;
    }
    const { bytes, headers } = file;
    if (request.headers['if-none-match'] === headers['etag']) {
      response.writeHead(304, headers).end();
      return;
    }
    const encoding = encodingFor(request.headers['accept-encoding']?.toString() ?? '');
    const body = encoding === null ? bytes : await file.in(encoding);
    response.writeHead(200, { ...headers, ...(encoding === null ? {} : { 'content-encoding': encoding }), 'content-length': body.length });
    response.end(request.method === 'HEAD' ? undefined : body);
  }
}

function clientOf({ socket }: IncomingMessage): string {
  return `http ${socket.remoteAddress ?? ''}`;
}

function bracketed(host: string): string {
  return host.includes(':') ? `[${host}]` : host;
}

async function* oneChunk(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  yield bytes;
}

/** Ends a request that failed, so that no request can end the server. A client that has gone is not a failure. */
function fail(error: unknown, request: IncomingMessage, response: ServerResponse): void {
  if (response.destroyed) return;
  reportFailure(request.url?.split('?', 1)[0] ?? '', toEspalierError(error), callMetadata(''));
  if (response.headersSent) response.destroy();
  else sendText(response, 500, 'this request can not be answered');
}
