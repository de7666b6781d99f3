export interface ConnectOptions {
  connectionString: string;
  username?: string;
  password?: string;
}

/** `discoveryInterval` also delays the first read, so it is kept small unless the user chose one. */
export function connectionStringOf({ connectionString, username, password }: ConnectOptions): string {
  let result = connectionString;
  if (username !== undefined && password !== undefined) {
    const login = `${encodeURIComponent(username)}:${encodeURIComponent(password)}@`;
    result = result.replace(/^([a-z+]+:\/\/)(?:[^@/?]*@)?/, (_all, scheme: string) => scheme + login);
  }
  if (/[?&]discoveryInterval=/i.test(result)) return result;
  return `${result}${result.includes('?') ? '&' : '?'}discoveryInterval=10`;
}

/** The decoded login of a connection string; none without TLS, where no password may travel. */
export function loginOf(connectionString: string): { credentials?: { username: string; password: string } } {
  const [, username, password] = /^[a-z+]+:\/\/([^:@/?]+):([^@/?]+)@/.exec(connectionString) ?? [];
  if (username === undefined || password === undefined || /[?&]tls=false/i.test(connectionString)) return {};
  return { credentials: { username: decodeURIComponent(username), password: decodeURIComponent(password) } };
}
