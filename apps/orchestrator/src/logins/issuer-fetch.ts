// Requests to the provider. Node's fetch knows no authority of its own for one address, so these go by node:https. An answer that is too
// long, or too late, is refused; the clock of the provider is compared with the one of this machine at each answer.
import { request as httpRequest, type IncomingMessage } from 'node:http';
import { request as httpsRequest } from 'node:https';

const ANSWER_BYTES_MAX = 1 << 20;
const ANSWER_MS_MAX = 10_000;
/** Clocks that differ less are not to blame for anything. */
const CLOCKS_APART_MS = 30_000;

type Fetch = (url: string | URL, options?: FetchOptions) => Promise<Response>;

interface FetchOptions {
  method?: string | undefined;
  headers?: ConstructorParameters<typeof Headers>[0];
  body?: unknown;
  signal?: AbortSignal | null | undefined;
}

export class IssuerFetch {
  /** How far the clock of the provider is ahead of this machine's, to a second or so; null: it has not said. */
  aheadMs: number | null = null;

  /** @param ca the authority, in PEM; null: those of Node */
  constructor(private readonly ca: string | null) {}

  /** As the fetch of browsers, but for redirects, which are answers. */
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

  /** '': the clocks agree, so they are not to blame. */
  get clockWords(): string {
    const ahead = this.aheadMs;
    if (ahead === null || Math.abs(ahead) < CLOCKS_APART_MS) return '';
    const seconds = Math.round(Math.abs(ahead) / 1_000);
    return `; the provider's clock is ${seconds} s ${ahead > 0 ? 'ahead of' : 'behind'} this server's: one of them is wrong`;
  }

  private async answer(address: URL, method: string, headers: Headers, body: string | undefined, signal: AbortSignal): Promise<Response> {
    const answer = await new Promise<IncomingMessage>((resolve, reject) => {
      const send = address.protocol === 'https:' ? httpsRequest : httpRequest;
      // A connection of its own: one that was kept may be closed at the other end just now.
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
