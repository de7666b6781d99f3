// Says in words, for the client's user, why a client and a server with TLS can't connect.

export interface TlsProblem {
  code: string;
  /** Completes "the server at ADDRESS ...". */
  message: string;
  hint: string;
}

/** The problems of TLS, found by the words of the library's errors. */
const PROBLEMS: [words: RegExp, code: string, message: string, hint: string][] = [
  [
    /certificate has expired|not yet valid/,
    'TLS_CERTIFICATE_EXPIRED',
    'shows a certificate that is not valid now',
    'renew it there (espalier tls renew), or set the clock of this machine',
  ],
  [/does not match certificate/, 'TLS_NAME_WRONG', 'shows a certificate for other names', 'use a name that it is for'],
  [
    /self[- ]signed certificate|unable to (get|verify)|signature failure/,
    'TLS_AUTHORITY_UNKNOWN',
    'shows a certificate of an authority that is not known here',
    'name the file of its authority with --tls-ca',
  ],
  [
    /certificate required|bad certificate|alert unknown ca|handshake failure/,
    'TLS_CLIENT_REFUSED',
    'asks for a certificate of its clients',
    'set ESPALIER_TLS_CLIENT_CERT and ESPALIER_TLS_CLIENT_KEY',
  ],
  [/wrong version number|packet length too long/, 'TLS_NOT_SPOKEN', 'does not speak TLS', 'name it without https://'],
];

/** @param details the details of a failed call. @returns undefined: the call failed for another reason */
export function tlsProblemIn(details: string): TlsProblem | undefined {
  const found = PROBLEMS.find(([words]) => words.test(details));
  if (found === undefined) return undefined;
  const [, code, message, hint] = found;
  const names = /is not in the cert's (?:list|altnames): (.*?)(?:\. Resolution note|$)/.exec(details)?.[1];
  return { code, message: names === undefined ? message : `${message}: ${names}`, hint };
}
