export interface ConnectOptions {
  connectionString: string;
  username?: string;
  password?: string;
}

/**
 * Adds the login and defaults to the connection string. `discoveryInterval` also delays the first read, so it is kept small unless the user
 * chose a value.
 * @throws Error the reason why the string can't be used
 */
export function connectionStringOf({ connectionString, username, password }: ConnectOptions): string {
  requireLeader(connectionString);
  let result = connectionString;
  if (username !== undefined && password !== undefined) {
    const login = `${encodeURIComponent(username)}:${encodeURIComponent(password)}@`;
    result = result.replace(/^([a-z+]+:\/\/)(?:[^@/?]*@)?/, (_all, scheme: string) => scheme + login);
  }
  if (/[?&]discoveryInterval=/i.test(result)) return result;
  return `${result}${result.includes('?') ? '&' : '?'}discoveryInterval=10`;
}

/**
 * A follower may lack the newest events. A reader of it would take them for lost, and decide by an old state.
 * @throws Error
 */
function requireLeader(connectionString: string): void {
  const preference = /[?&]nodePreference=([^&]*)/i.exec(connectionString)?.[1];
  if (preference !== undefined && preference.toLowerCase() !== 'leader')
    throw new Error(`nodePreference=${preference}: only leader is allowed, since other nodes may lack the newest events`);
}

/** Returns the decoded login of a connection string; nothing without TLS, where no password may be sent. */
export function loginOf(connectionString: string): { credentials?: { username: string; password: string } } {
  const [, username, password] = /^[a-z+]+:\/\/([^:@/?]+):([^@/?]+)@/.exec(connectionString) ?? [];
  if (username === undefined || password === undefined || /[?&]tls=false/i.test(connectionString)) return {};
  return { credentials: { username: decodeURIComponent(username), password: decodeURIComponent(password) } };
}
