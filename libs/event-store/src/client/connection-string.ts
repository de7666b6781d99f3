export interface ConnectOptions {
  connectionString: string;
  username?: string;
  password?: string;
}

/**
 * Adds the login and defaults to the connection string. `discoveryInterval` also delays the first read, so it is kept small unless the user
 * chose a value.
 */
export function connectionStringOf({ connectionString, username, password }: ConnectOptions): string {
  let result = connectionString;
  if (username !== undefined && password !== undefined) {
    const login = `${encodeURIComponent(username)}:${encodeURIComponent(password)}@`;
    result = result.replace(/^([a-z+]+:\/\/)(?:[^@/?]*@)?/, (_all, scheme: string) => scheme + login);
  }
  if (/[?&]discoveryInterval=/i.test(result)) return result;
  return `${result}${result.includes('?') ? '&' : '?'}discoveryInterval=10`;
}

/** Returns the decoded login of a connection string; nothing without TLS, where no password may be sent. */
export function loginOf(connectionString: string): { credentials?: { username: string; password: string } } {
  const [, username, password] = /^[a-z+]+:\/\/([^:@/?]+):([^@/?]+)@/.exec(connectionString) ?? [];
  if (username === undefined || password === undefined || /[?&]tls=false/i.test(connectionString)) return {};
  return { credentials: { username: decodeURIComponent(username), password: decodeURIComponent(password) } };
}

/** Tells whether a client asks by gossip for the leading node: the string names several nodes, or a DNS name that stands for them. */
export function namesCluster(connectionString: string): boolean {
  return /^[a-z]+\+discover:|^[a-z+]+:\/\/[^?/]*,/.test(connectionString);
}
