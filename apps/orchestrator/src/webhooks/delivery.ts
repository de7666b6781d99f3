// Makes one attempt to deliver a notification.
import { createHmac } from 'node:crypto';
import type { Webhook } from './webhook-file.js';

const SIGNATURE_HEADER = 'espalier-signature';

/** The signature of a body. The receiver computes the same from the header's time and the bytes that it got, and refuses an old time. */
export function signatureOf(secret: Buffer, body: string, seconds: number): string {
  return `t=${seconds},v1=${createHmac('sha256', secret).update(`${seconds}.${body}`).digest('hex')}`;
}

/** @returns null where the receiver took the notification, or else the problem in words without the address and the secret */
export async function deliver(
  { url, secret }: Pick<Webhook, 'url' | 'secret'>,
  body: string,
  { nowMs, attemptMs, signal }: { nowMs: number; attemptMs: number; signal: AbortSignal },
): Promise<string | null> {
  const headers = {
    'content-type': 'application/json',
    'user-agent': 'espalier',
    [SIGNATURE_HEADER]: signatureOf(secret, body, Math.floor(nowMs / 1_000)),
  };
  const deadline = AbortSignal.any([signal, AbortSignal.timeout(attemptMs)]);
  try {
    // A redirect could lead anywhere, so it counts as an answer without success.
    const response = await fetch(url, { method: 'POST', body, headers, redirect: 'manual', signal: deadline });
    // The answer's text is not read, since it may have any length.
    await response.body?.cancel();
    return response.ok ? null : `the receiver answered with status ${response.status}`;
  } catch (error) {
    return problemOf(error, attemptMs);
  }
}

function problemOf(error: unknown, attemptMs: number): string {
  const { name, cause } = error as Error;
  if (name === 'TimeoutError') return `the receiver did not answer within ${attemptMs / 1_000} s`;
  const code = (cause as { code?: unknown } | undefined)?.code;
  return typeof code === 'string' ? `the receiver can't be reached (${code})` : 'the receiver broke off';
}
