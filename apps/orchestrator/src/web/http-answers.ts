// Answers that do not come from a method.
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { ConnectError } from '@connectrpc/connect';
import { encodeEnvelope } from '@connectrpc/connect/protocol';
import { codeToHttpStatus, endStreamFlag, errorToJson, errorToJsonBytes } from '@connectrpc/connect/protocol-connect';
import { setTrailerStatus } from '@connectrpc/connect/protocol-grpc';

/** Refuses a request before its method is called, in the form of the request's protocol. */
export function refuse(error: ConnectError, request: IncomingMessage, response: ServerResponse): void {
  request.resume();
  const type = request.headers['content-type'] ?? '';
  if (type.startsWith('application/grpc-web')) {
    const trailer = setTrailerStatus(new Headers({ 'content-type': type }), error);
    response.writeHead(200, Object.fromEntries(trailer)).end();
    return;
  }
  if (type.startsWith('application/connect+')) {
    const end = Buffer.from(JSON.stringify({ error: errorToJson(error, undefined) }));
    response.writeHead(200, { 'content-type': type }).end(encodeEnvelope(endStreamFlag, end));
    return;
  }
  response.writeHead(codeToHttpStatus(error.code), { 'content-type': 'application/json' });
  response.end(errorToJsonBytes(error, undefined));
}

export function sendText(response: ServerResponse, status: number, text: string, headers: Record<string, string> = {}): void {
  response.writeHead(status, { 'content-type': 'text/plain; charset=utf-8', 'cache-control': 'no-store', ...headers });
  response.end(`${text}\n`);
}
