// The certificate that a server shows, its key, and the authority of its clients' certificates. The files are read again and again: after a
// change, new connections get the new certificate, and open ones keep the old.
import { X509Certificate } from 'node:crypto';
import { isIP, type Socket } from 'node:net';
import { createServer, type SecureContextOptions, type Server, type TLSSocket } from 'node:tls';
import { readSecretFileSync } from '#files';
import { readCertificatePem, readTlsPair } from './tls-files.js';

const LOOK_MS = 5_000;
/** A client that does not finish the handshake in this time is cut off. */
const HANDSHAKE_MS = 10_000;
const MIN_VERSION = 'TLSv1.2';
const DAY_MS = 86_400_000;
/** The days before the end of a certificate on which its end is reported. */
const WARNING_DAYS = 14;

export interface TlsFiles {
  certFile: string;
  keyFile: string;
  /** The authority whose certificates clients have to show; undefined: clients need no certificate. */
  clientCaFile?: string | undefined;
}

interface Content {
  cert: Buffer;
  key: Buffer;
  ca?: Buffer;
  certificate: X509Certificate;
}

export interface IdentityNews {
  renewed: () => void;
  unusable: (problem: Error) => void;
  /** Called once a day while the certificate ends soon, or has ended. */
  endsSoon: (end: Date) => void;
}

export class TlsIdentity {
  private content: Content;
  private readonly servers = new Set<Server>();
  private looking: NodeJS.Timeout | undefined;

  /** @throws Error that names the file that can't be used */
  constructor(private readonly files: TlsFiles) {
    this.content = read(files);
  }

  /** Reads the files again at intervals and uses new ones. If the new files can't be used, the old certificate stays in use. */
  watch(news: IdentityNews): void {
    let [problem, told] = ['', ''];
    let warnedMs = -Infinity;
    const look = (): void => {
      try {
        if (this.lookAgain()) news.renewed();
        problem = told = '';
      } catch (error) {
        // Certificate and key are written one after the other, so files that do not fit yet may fit at the next look.
        const { message } = error as Error;
        if (message === problem && message !== told) {
          news.unusable(error as Error);
          told = message;
        }
        problem = message;
      }
      const now = Date.now();
      if (this.end.getTime() - now > WARNING_DAYS * DAY_MS || now - warnedMs < DAY_MS) return;
      warnedMs = now;
      news.endsSoon(this.end);
    };
    look();
    this.looking = setInterval(look, LOOK_MS).unref();
  }

  close(): void {
    clearInterval(this.looking);
  }

  /** Reads the files and tells whether they have changed. @throws Error that names the file that can't be used */
  lookAgain(): boolean {
    const found = read(this.files);
    const { cert, key, ca } = this.content;
    if (found.cert.equals(cert) && found.key.equals(key) && (found.ca === undefined || found.ca.equals(ca!))) return false;
    this.content = found;
    for (const server of this.servers) server.setSecureContext(contextOf(found));
    return true;
  }

  /** The certificate's authority, if its file holds that too; otherwise ''. Clients of the server's user recognize the server by it. */
  get authority(): string {
    const all = this.content.cert.toString('latin1').match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g) ?? [];
    return all.filter((pem) => isAuthority(new X509Certificate(pem))).join('\n');
  }

  /** Tells whether the certificate is for this name or address. */
  isFor(host: string): boolean {
    const { certificate } = this;
    return (isIP(host) === 0 ? certificate.checkHost(host) : certificate.checkIP(host)) !== undefined;
  }

  /** A name that the certificate is for. */
  get name(): string {
    const names = this.certificate.subjectAltName ?? '';
    return /(?:^|, )DNS:([^,*]+)(?:,|$)/.exec(names)?.[1] ?? /IP Address:([^,]+)/.exec(names)?.[1] ?? 'localhost';
  }

  get end(): Date {
    return new Date(this.certificate.validTo);
  }

  /**
   * Returns a function that takes connections, and makes TLS handshakes on them. It calls `enter` after a handshake, and `failed` with the
   * problem's code if the handshake fails.
   * @param protocol the protocol over TLS, by ALPN's name
   */
  acceptor(protocol: string, enter: (socket: TLSSocket) => void, failed: (socket: Socket, code: string) => void): (socket: Socket) => void {
    const asksClients = this.files.clientCaFile === undefined ? {} : { requestCert: true, rejectUnauthorized: true };
    const options = { ...contextOf(this.content), ...asksClients, ALPNProtocols: [protocol], handshakeTimeout: HANDSHAKE_MS };
    const server = createServer(options, (socket) => {
      socket.on('error', () => undefined); // the server behind it learns of the error when the socket closes
      enter(socket);
    });
    server.on('tlsClientError', (error: NodeJS.ErrnoException, socket) => failed(socket, error.code ?? 'unknown'));
    this.servers.add(server);
    return (socket) => server.emit('connection', socket);
  }

  private get certificate(): X509Certificate {
    return this.content.certificate;
  }
}

function isAuthority(certificate: X509Certificate): boolean {
  return certificate.ca && certificate.subject === certificate.issuer;
}

function contextOf({ cert, key, ca }: Content): SecureContextOptions {
  return { cert, key, minVersion: MIN_VERSION, ...(ca === undefined ? {} : { ca }) };
}

function read({ certFile, keyFile, clientCaFile }: TlsFiles): Content {
  const { certificate: cert, key } = readTlsPair({ certFile, keyFile }, readSecretFileSync);
  const ca = clientCaFile === undefined ? {} : { ca: readCertificatePem(clientCaFile) };
  return { cert, key, ...ca, certificate: new X509Certificate(cert) };
}
