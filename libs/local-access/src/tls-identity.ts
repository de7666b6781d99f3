// The certificate that a server shows, its key, and the authority of its clients' certificates. The files are looked at again and again:
// connections that come after a change get the new certificate, those that are open keep theirs.
import { X509Certificate } from 'node:crypto';
import { isIP, type Socket } from 'node:net';
import { createServer, type SecureContextOptions, type Server, type TLSSocket } from 'node:tls';
import { readSecretFileSync } from '#files';
import { readCertificatePem, readTlsPair } from './tls-files.js';

const LOOK_MS = 5_000;
/** A client that says nothing for so long is cut off. */
const HANDSHAKE_MS = 10_000;
const MIN_VERSION = 'TLSv1.2';
const DAY_MS = 86_400_000;
/** The days before the end of a certificate on which it is spoken of. */
const WARNING_DAYS = 14;

export interface TlsFiles {
  certFile: string;
  keyFile: string;
  /** Clients have to show a certificate of this authority; undefined: they need none. */
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
  /** Told once a day while the certificate ends soon, or has ended. */
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

  /** Takes new files as they are found. With files that can't be used the old certificate stays in use. */
  watch(news: IdentityNews): void {
    let [problem, told] = ['', ''];
    let warnedMs = -Infinity;
    const look = (): void => {
      try {
        if (this.lookAgain()) news.renewed();
        problem = told = '';
      } catch (error) {
        // Certificate and key are written one after the other, so what does not fit yet may fit at the next look.
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

  /** Whether the files had another content. @throws Error as the constructor */
  lookAgain(): boolean {
    const found = read(this.files);
    const { cert, key, ca } = this.content;
    if (found.cert.equals(cert) && found.key.equals(key) && (found.ca === undefined || found.ca.equals(ca!))) return false;
    this.content = found;
    for (const server of this.servers) server.setSecureContext(contextOf(found));
    return true;
  }

  /** The certificate's own authority, where its file holds that too. By it the clients of the server's user know the server. '': none. */
  get authority(): string {
    const all = this.content.cert.toString('latin1').match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g) ?? [];
    return all.filter((pem) => isAuthority(new X509Certificate(pem))).join('\n');
  }

  /** Whether the certificate is for this name or address. */
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
   * Given connections that come in, it hands over those whose handshake is done, and those that fail with the problem's code.
   * @param protocol that follows, as ALPN names it
   */
  acceptor(protocol: string, enter: (socket: TLSSocket) => void, failed: (socket: Socket, code: string) => void): (socket: Socket) => void {
    const asksClients = this.files.clientCaFile === undefined ? {} : { requestCert: true, rejectUnauthorized: true };
    const options = { ...contextOf(this.content), ...asksClients, ALPNProtocols: [protocol], handshakeTimeout: HANDSHAKE_MS };
    const server = createServer(options, (socket) => {
      socket.on('error', () => undefined); // the server behind it learns of it by the close
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
