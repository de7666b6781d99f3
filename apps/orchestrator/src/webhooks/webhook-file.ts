// Reads the file of webhooks that a user writes. It is YAML, and errors name the line and the key.
import { dirname, resolve } from 'node:path';
import { isSeq, type Pair } from 'yaml';
import { readSecretFileSync } from '#files';
import { isLoopbackHost } from '#local-access';
import { wholeNumberOf } from '#protocol';
import { textOfOptionFile, YamlReader } from '#run-files';

export const WEBHOOK_EVENTS = ['run_done', 'run_failed', 'run_diverged', 'target_missed', 'disk_nearly_full'] as const;
export type WebhookEvent = (typeof WEBHOOK_EVENTS)[number];

export interface Webhook {
  /** The name of the webhook in logs and figures. The address is not shown there, since it may hold a secret. */
  name: string;
  url: string;
  secret: Buffer;
  events: ReadonlySet<WebhookEvent>;
}

export interface WebhookSettings {
  webhooks: readonly Webhook[];
  /** A disk with fewer free bytes counts as nearly full. */
  diskFreeBytes: number;
}

const NO_WEBHOOKS: WebhookSettings = { webhooks: [], diskFreeBytes: 0 };

const FIELD = '--webhooks';
const SECRET_BYTES_MAX = 4 << 10;
const SECRET_BYTES_MIN = 16;
const MOST_WEBHOOKS = 32;
const GB = 1e9;
const USUAL_DISK_FREE_GB = 10;
const NAME = /^[a-z][a-z0-9-]{0,39}$/;

/** @throws EspalierError CONFIG_INVALID */
export function readWebhookFile(path: string | undefined): WebhookSettings {
  if (path === undefined) return NO_WEBHOOKS;
  return new WebhookReader(path, textOfOptionFile(path, 'the file of webhooks', FIELD), FIELD).read(dirname(path));
}

class WebhookReader extends YamlReader {
  /** @param folder the folder that relative paths start from */
  read(folder: string): WebhookSettings {
    const webhooks: Webhook[] = [];
    let diskFreeGb = USUAL_DISK_FREE_GB;
    for (const [key, pair] of this.entries(this.document.contents, 'the file')) {
      if (key === 'webhooks') webhooks.push(...this.webhooksOf(pair, folder));
      else if (key === 'disk_free_gb') diskFreeGb = this.gigabytesOf(pair);
      else throw this.unknown(key, pair, ['webhooks', 'disk_free_gb']);
    }
    if (webhooks.length === 0) throw this.problem(0, 'webhooks: a list of 1 or more is needed');
    return { webhooks, diskFreeBytes: diskFreeGb * GB };
  }

  private webhooksOf(pair: Pair, folder: string): Webhook[] {
    if (!isSeq(pair.value)) throw this.wrong(pair, 'webhooks', 'a list is needed');
    if (pair.value.items.length > MOST_WEBHOOKS) throw this.wrong(pair, 'webhooks', `at most ${MOST_WEBHOOKS} are allowed`);
    const names = new Set<string>();
    return pair.value.items.map((item) => {
      const webhook = this.webhookOf(pair, item, folder);
      if (names.has(webhook.name)) throw this.wrong(pair, 'name', `${webhook.name} is given twice: each webhook has a name of its own`);
      names.add(webhook.name);
      return webhook;
    });
  }

  private webhookOf(list: Pair, item: unknown, folder: string): Webhook {
    const given: Partial<Webhook> = {};
    for (const [key, pair] of this.entries(item, 'a webhook')) {
      if (key === 'name') given.name = this.nameOf(pair);
      else if (key === 'url') given.url = this.urlOf(pair);
      else if (key === 'secret_file') given.secret = this.secretOf(pair, folder);
      else if (key === 'events') given.events = this.eventsOf(pair);
      else throw this.unknown(key, pair, ['name', 'url', 'secret_file', 'events']);
    }
    const { name, url, secret, events } = given;
    if (name === undefined) throw this.wrong(list, 'name', 'each webhook needs a name');
    const needed = (key: string) => this.wrong(list, key, `is needed for the webhook ${name}`);
    if (url === undefined) throw needed('url');
    if (secret === undefined) throw needed('secret_file');
    if (events === undefined) throw needed('events');
    return { name, url, secret, events };
  }

  private nameOf(pair: Pair): string {
    const name = this.textOf(pair, 'name', 'a name');
    if (NAME.test(name)) return name;
    throw this.wrong(pair, 'name', 'at most 40 small letters, digits and hyphens are allowed, a letter first');
  }

  /** Reads the address. The errors do not repeat it, since it may hold a secret. */
  private urlOf(pair: Pair): string {
    const text = this.textOf(pair, 'url', 'an address');
    const url = URL.canParse(text) ? new URL(text) : null;
    if (url === null) throw this.wrong(pair, 'url', 'this is not an address: https://HOST/PATH is allowed');
    const isSafe = url.protocol === 'https:' || (url.protocol === 'http:' && isLoopbackHost(url.hostname.replace(/^\[|\]$/g, '')));
    if (!isSafe) throw this.wrong(pair, 'url', 'https:// is allowed, and http:// to this machine only: 127.0.0.1, [::1] or localhost');
    if (url.username !== '' || url.password !== '') throw this.wrong(pair, 'url', 'a user or a password in it is not allowed');
    return url.href;
  }

  private secretOf(pair: Pair, folder: string): Buffer {
    const path = resolve(folder, this.textOf(pair, 'secret_file', 'a path'));
    let secret: Buffer;
    try {
      secret = Buffer.from(readSecretFileSync(path, SECRET_BYTES_MAX).toString('utf8').trim());
    } catch (error) {
      throw this.wrong(pair, 'secret_file', (error as Error).message);
    }
    if (secret.length >= SECRET_BYTES_MIN) return secret;
    throw this.wrong(pair, 'secret_file', `the secret has ${secret.length} bytes: ${SECRET_BYTES_MIN} or more are needed`);
  }

  private eventsOf(pair: Pair): ReadonlySet<WebhookEvent> {
    const events = this.itemsOf(pair, 'events').map((word) => {
      const known = WEBHOOK_EVENTS.find((one) => one === word);
      if (known === undefined) throw this.wrong(pair, 'events', `${JSON.stringify(word)}: allowed are ${WEBHOOK_EVENTS.join(', ')}`);
      return known;
    });
    if (events.length === 0) throw this.wrong(pair, 'events', 'one or more are needed');
    return new Set(events);
  }

  private gigabytesOf(pair: Pair): number {
    try {
      const value = wholeNumberOf(this.textOf(pair, 'disk_free_gb', 'a number'));
      if (value >= 1) return value;
    } catch (error) {
      if (!(error instanceof RangeError)) throw error;
    }
    throw this.wrong(pair, 'disk_free_gb', 'a whole number of 1 or more is needed');
  }
}
