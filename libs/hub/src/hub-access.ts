// Makes requests to the hub: where it is, who asks, which redirections are followed, and when a request is made again.
import { readFileSync } from 'node:fs';
import { lookup } from 'node:dns/promises';
import { BlockList, isIP } from 'node:net';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { HubError } from './hub-error.js';
import { fromHome } from './hub-names.js';

const PUBLIC_HUB = 'https://huggingface.co';
const TRIES = 6;
const REDIRECTIONS_MAX = 5;
const ANSWER_MS = 30_000;
const WAIT_MAX_MS = 300_000;

export interface HubAccess {
  /** The address of the hub, without a slash at its end. */
  endpoint: string;
  /** Requests that carry the token to the hub itself, and to no other server. */
  fetch: typeof fetch;
  hasToken: boolean;
}

export interface AccessOptions {
  signal?: AbortSignal;
  env?: NodeJS.ProcessEnv;
  /** Is called before a request is made again. */
  onWait?: (words: string) => void;
  /** The first pause before a request is made again; each further pause is twice as long. */
  pauseMs?: number;
}

/** Reads the environment as the hub's own programs do: HF_ENDPOINT, HF_TOKEN, HF_TOKEN_PATH, HF_HOME. */
export function hubAccess({ env = process.env, ...options }: AccessOptions = {}): HubAccess {
  const endpoint = (env['HF_ENDPOINT'] || PUBLIC_HUB).replace(/\/+$/, '');
  if (!/^https?:\/\/[^/]/.test(endpoint))
    throw new HubError('HUB_UNREACHABLE', `HF_ENDPOINT is ${JSON.stringify(endpoint)}; an address as ${PUBLIC_HUB} is needed`);
  const token = tokenOf(env);
  return { endpoint, hasToken: token !== null, fetch: new Requests(endpoint, token, options).fetch };
}

function tokenOf({ HF_TOKEN, HUGGING_FACE_HUB_TOKEN, HF_TOKEN_PATH, HF_HOME, XDG_CACHE_HOME }: NodeJS.ProcessEnv): string | null {
  const own = (HF_TOKEN || HUGGING_FACE_HUB_TOKEN || '').trim();
  if (own !== '') return own;
  const home = fromHome(HF_HOME || join(XDG_CACHE_HOME || '~/.cache', 'huggingface'));
  try {
    return readFileSync(HF_TOKEN_PATH ? fromHome(HF_TOKEN_PATH) : join(home, 'token'), 'utf8').trim() || null;
  } catch {
    return null; // the user has not logged in
  }
}

class Requests {
  constructor(
    private readonly endpoint: string,
    private readonly token: string | null,
    private readonly options: Omit<AccessOptions, 'env'>,
  ) {}

  readonly fetch: typeof fetch = async (input, init = {}) => {
    const address = input instanceof Request ? input.url : String(input);
    const { signal, onWait, pauseMs = 1_000 } = this.options;
    // The body of an upload may be a stream that can be read once only.
    const tries = init.body === undefined || init.body === null || typeof init.body === 'string' ? TRIES : 1;
    for (let number = 1; ; number++) {
      const last = number === tries;
      let words: string;
      let asked: number | null = null;
      try {
        const response = await this.follow(address, init);
        if (last || !isPassing(response.status)) return response;
        await response.body?.cancel();
        words = `status ${response.status}`;
        asked = askedPause(response.headers);
      } catch (error) {
        signal?.throwIfAborted();
        init.signal?.throwIfAborted();
        if (error instanceof HubError) throw error;
        words = causeWords(error);
        if (last) throw new HubError('HUB_UNREACHABLE', `${hostOf(address)} can't be reached: ${words}`, { cause: error });
      }
      const pause = Math.min(asked ?? pauseMs * 2 ** (number - 1), WAIT_MAX_MS);
      onWait?.(`${hostOf(address)}: ${words}; the request is made again in ${Math.ceil(pause / 1000)} s`);
      await delay(pause, undefined, signal === undefined ? {} : { signal });
    }
  };

  /** Follows redirections itself: each place is checked, and the token goes to the hub alone. */
  private async follow(address: string, init: RequestInit): Promise<Response> {
    let url = new URL(address);
    for (let count = 0; ; count++) {
      await this.requireAllowed(url);
      const response = await this.once(url, init);
      const target = response.headers.get('location');
      if (response.status < 300 || response.status > 399 || target === null) return response;
      await response.body?.cancel();
      if (count === REDIRECTIONS_MAX || (init.method ?? 'GET') !== 'GET')
        throw new HubError('HUB_ANSWER_INVALID', `${url.host} sends this request from place to place, last to ${target.slice(0, 200)}`);
      url = new URL(target, url);
    }
  }

  /** The time limit holds until the answer begins, and not while its bytes come. */
  private async once(url: URL, init: RequestInit): Promise<Response> {
    const headers = new Headers(init.headers);
    headers.delete('authorization');
    headers.set('user-agent', 'espalier; node');
    if (this.token !== null && url.origin === new URL(this.endpoint).origin) headers.set('authorization', `Bearer ${this.token}`);
    const limit = new AbortController();
    const signals = [limit.signal, this.options.signal, init.signal].filter((one) => one !== undefined && one !== null);
    const isUpload = init.body !== undefined && init.body !== null; // large files take their time
    const timer = isUpload ? undefined : setTimeout(() => limit.abort(new Error('no answer within 30 s')), ANSWER_MS);
    try {
      return await fetch(url, { ...init, headers, redirect: 'manual', signal: AbortSignal.any(signals) });
    } finally {
      clearTimeout(timer);
    }
  }

  /**
   * A public hub must not send this machine to a server of its own network, or from TLS to plain text. A hub in the own network may do the
   * first, and one without TLS the second.
   * @throws HubError
   */
  private async requireAllowed(url: URL): Promise<void> {
    const hub = new URL(this.endpoint);
    if (url.host === hub.host && url.protocol === hub.protocol) return;
    const why = (words: string): HubError =>
      new HubError('HUB_ANSWER_INVALID', `${hub.host} sends the request to ${url.protocol}//${url.host}, ${words}`);
    if (url.protocol !== 'https:' && !(url.protocol === 'http:' && hub.protocol === 'http:')) throw why('which is not https');
    if (url.username !== '' || url.password !== '') throw why('with a name and a password');
    if ((await isPrivate(url.hostname)) && !(await isPrivate(hub.hostname))) throw why('an address of this network');
  }
}

/** Whether the same request may succeed later. */
const isPassing = (status: number): boolean => status === 429 || (status >= 500 && status !== 501);

/** Returns the pause that the hub asks for: `Retry-After` in seconds, or `t` of its `RateLimit`. */
function askedPause(headers: Headers): number | null {
  const seconds = headers.get('retry-after') ?? /;t=(\d+)/.exec(headers.get('ratelimit') ?? '')?.[1];
  return seconds !== undefined && seconds !== null && /^\d+$/.test(seconds) ? Number(seconds) * 1000 : null;
}

const hostOf = (address: string): string => new URL(address).host;

/** Returns the words of the innermost cause: that of `fetch` itself says "fetch failed". */
export function causeWords(error: unknown): string {
  let inner = error as Error & { code?: string };
  while (inner.cause instanceof Error) inner = inner.cause;
  return inner.message || inner.code || String(error);
}

const OWN_NETWORK = new BlockList();
for (const [net, bits] of [
  ['0.0.0.0', 8],
  ['10.0.0.0', 8],
  ['100.64.0.0', 10],
  ['127.0.0.0', 8],
  ['169.254.0.0', 16],
] as const)
  OWN_NETWORK.addSubnet(net, bits);
for (const [net, bits] of [
  ['172.16.0.0', 12],
  ['192.168.0.0', 16],
] as const)
  OWN_NETWORK.addSubnet(net, bits);
for (const [net, bits] of [
  ['::', 127],
  ['fc00::', 7],
  ['fe80::', 10],
] as const)
  OWN_NETWORK.addSubnet(net, bits, 'ipv6');

/** Whether a host is, or its name stands for, an address of this machine or its network. A name that is not known is not one. */
async function isPrivate(host: string): Promise<boolean> {
  const plain = host.replace(/^\[|\]$/g, '');
  const found = isIP(plain) === 0 ? await lookup(plain, { all: true }).catch(() => []) : [{ address: plain, family: isIP(plain) }];
  return found.some(({ address, family }) => OWN_NETWORK.check(address, family === 6 ? 'ipv6' : 'ipv4'));
}
