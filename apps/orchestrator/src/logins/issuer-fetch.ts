// Sends requests to the provider. Node's fetch can't use another authority for one address, so requests are sent by node:https. An answer
// that is too long or too late is refused. Each answer's time is compared with this machine's clock.
import { request as httpRequest, type IncomingMessage } from 'node:http';
import { request as httpsRequest } from 'node:https';

const ANSWER_BYTES_MAX = 1 << 20;
const ANSWER_MS_MAX = 10_000;
/** Clocks that differ by less do not explain any error. */
const CLOCKS_APART_MS = 30_000;

type Fetch = (url: string | URL, options?: FetchOptions) => Promise<Response>;

interface FetchOptions {
  method?: string | undefined;
  headers?: ConstructorParameters<typeof Headers>[0];
  body?: unknown;
  signal?: AbortSignal | null | undefined;
}

export class IssuerFetch {
  /** How far the provider's clock is ahead of this machine's, to about a second, or null where the provider has not told its time. */
  aheadMs: number | null = null;

  /** @param ca the authority in PEM, or null for Node's own authorities */
  constructor(private readonly ca: string | null) {}

  /** A fetch like that of browsers, except that redirects are not followed but returned. */
  readonly fetch: Fetch = async (url, { method = 'GET', headers, body, signal } = {}) => {
    const address = new URL(url);
    const late = AbortSignal.timeout(ANSWER_MS_MAX);
    const both = signal == null ? late : AbortSignal.any([late, signal]);
    try {
      return await this.answer(address, method, new Headers(headers), body == null ? undefined : textOf(body), both);
    } catch (error) {
      if (signal?.aborted === true) throw signal.reason as Error;
      throw late.aborted ? new Error(`${address.origin} does not answer within ${ANSWER_MS_MAX / 1_000} s`) : error;
    }
  };

  /** Words about clocks that differ, or '' where they agree. */
  get clockWords(): string {
    const ahead = this.aheadMs;
    if (ahead === null || Math.abs(ahead) < CLOCKS_APART_MS) return '';
    const seconds = Math.round(Math.abs(ahead) / 1_000);
    return `; the provider's clock is ${seconds} s ${ahead > 0 ? 'ahead of' : 'behind'} this server's: one of them is wrong`;
  }

  private async answer(address: URL, method: string, headers: Headers, body: string | undefined, signal: AbortSignal): Promise<Response> {
    const answer = await new Promise<IncomingMessage>((resolve, reject) => {
      const send = address.protocol === 'https:' ? httpsRequest : httpRequest;
      // Each request has a connection of its own, because the other end may just be closing one that was kept.
      const options = {
        method,
        headers: Object.fromEntries(headers),
        signal,
        agent: false,
        ...(this.ca === null ? {} : { ca: this.ca }),
      } as const;
      const sent = send(address, options, resolve);
      sent.on('error', reject);
      sent.end(body);
    });
    const date = Date.parse(answer.headers.date ?? '');
    if (!Number.isNaN(date)) this.aheadMs = date - Date.now();
    const chunks: Buffer[] = [];
    let bytes = 0;
    for await (const chunk of answer as AsyncIterable<Buffer>) {
      bytes += chunk.length;
      if (bytes > ANSWER_BYTES_MAX) throw new Error(`${address.origin} answers with more than ${ANSWER_BYTES_MAX >> 20} MiB`);
      chunks.push(chunk);
    }
    const status = answer.statusCode!;
    const hasBody = ![204, 205, 304].includes(status);
    return new Response(hasBody ? Buffer.concat(chunks) : null, { status, headers: headersOf(answer) });
  }
}

function textOf(body: unknown): string {
  if (typeof body === 'string' || body instanceof URLSearchParams) return body.toString();
  throw new TypeError('a request to the provider has a body of another kind');
}

function headersOf({ headersDistinct }: IncomingMessage): Headers {
  const headers = new Headers();
  for (const [name, values] of Object.entries(headersDistinct)) for (const value of values ?? []) headers.append(name, value);
  return headers;
}
