// Puts errors of the provider, and of the connection to it, into words.

export function isOfNetwork(error: unknown): boolean {
  for (const one of causesOf(error)) {
    const { code } = one;
    if (/^(E[A-Z_]+|CERT_\w+|UNABLE_\w+|SELF_SIGNED\w*|DEPTH_ZERO\w*|OAUTH_TIMEOUT|OAUTH_RESPONSE_IS_NOT_CONFORM)$/.test(code ?? ''))
      return true;
    if (/does not answer within/.test(one.message)) return true;
  }
  return false;
}

/** The library's words that say nothing; the cause tells what went wrong. */
const LIBRARYS_WORDS = 'something went wrong';

function* causesOf(error: unknown): Iterable<NodeJS.ErrnoException> {
  for (let one = error; typeof one === 'object' && one !== null && 'message' in one; one = (one as Error).cause)
    yield one as NodeJS.ErrnoException;
}

/** The reason in words, without the data that was sent: the libraries' errors have tokens among their causes. */
export function reasonOf(error: unknown): string {
  const parts: string[] = [];
  for (const one of causesOf(error)) {
    if (parts.length === 3) break;
    const { error: code, error_description: description } = one as Error & { error?: unknown; error_description?: unknown };
    if (typeof code === 'string') {
      parts.push(`the provider says "${code}"${typeof description === 'string' ? `: ${description}` : ''}`);
      break;
    }
    const text = one.message === '' ? (one.code ?? one.name) : one.message;
    if (text !== LIBRARYS_WORDS && !parts.includes(text)) parts.push(text);
  }
  return parts
    .join(': ')
    .replaceAll(/[\0-\x1f\x7f]+/g, ' ')
    .slice(0, 500);
}
