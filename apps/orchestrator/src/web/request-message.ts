// Reads the message of a request over Connect or gRPC-Web as a whole and checks it before the protocol's library sees it, since the
// library's refusals have none of Espalier's codes.
import type { IncomingHttpHeaders, IncomingMessage } from 'node:http';
import { fromBinary, fromJson, type DescMessage, type JsonValue } from '@bufbuild/protobuf';
import { EspalierError, fileRegistry, invalidField, methodAt, REQUEST_BYTES_MAX } from '#protocol';

/** The bytes before each message of a stream, and before every message in gRPC-Web: a byte of flags and four bytes of length. */
const ENVELOPE_BYTES = 5;
const ENVELOPED = /^application\/(connect\+|grpc-web)/;
const JSON_TYPE = /^application\/((connect|grpc-web)\+)?json\b/;
const PROTO_TYPE = /^application\/((connect\+)?proto|grpc-web(\+proto)?)\s*(;|$)/;
const ENCODINGS = ['content-encoding', 'connect-content-encoding', 'grpc-encoding'];
const TIMEOUTS: Record<string, RegExp> = { 'connect-timeout-ms': /^\d{1,10}$/, 'grpc-timeout': /^\d{1,8}[HMSmun]$/ };

/** @throws EspalierError REQUEST_TOO_LARGE */
export async function readBody(request: IncomingMessage): Promise<Uint8Array> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    bytes += chunk.byteLength;
    // The rest is read but not kept, since a client that goes on writing would not read the answer.
    if (bytes <= REQUEST_BYTES_MAX + ENVELOPE_BYTES) chunks.push(chunk);
    else chunks.length = 0;
    if (bytes > HEARD_BYTES_MAX) break;
  }
  if (bytes > REQUEST_BYTES_MAX + ENVELOPE_BYTES) throw tooLarge(bytes);
  return Buffer.concat(chunks);
}
const HEARD_BYTES_MAX = 64 << 20;

/** @throws EspalierError for a wrong message; requests of other content types pass, and the library answers them in HTTP's own words */
export function requireMessage(path: string, headers: IncomingHttpHeaders, body: Uint8Array): void {
  for (const name of ENCODINGS) {
    const encoding = headers[name]?.toString() ?? 'identity';
    if (encoding !== 'identity') throw new EspalierError('NOT_SUPPORTED', `${name}: "${encoding}" is not taken; send the message as it is`);
  }
  for (const [name, allowed] of Object.entries(TIMEOUTS)) {
    const timeout = headers[name]?.toString();
    if (timeout !== undefined && !allowed.test(timeout))
      throw invalidField(
        'FIELD_OUT_OF_RANGE',
        name,
        `"${timeout.slice(0, 40)}" is not a time; as in ${name === 'grpc-timeout' ? '5000m' : '5000'}`,
      );
  }
  const type = headers['content-type']?.toLowerCase() ?? '';
  const isJson = JSON_TYPE.test(type);
  const method = methodAt(path);
  if (method === undefined || !(isJson || PROTO_TYPE.test(type))) return;
  const message = ENVELOPED.test(type) ? enveloped(body) : body;
  if (message.byteLength > REQUEST_BYTES_MAX) throw tooLarge(message.byteLength);
  if (isJson) requireJson(method.input, message);
  else requireBinary(method.input, message);
}

function tooLarge(bytes: number): EspalierError {
  return new EspalierError('REQUEST_TOO_LARGE', `the request has ${bytes} bytes or more; at most ${REQUEST_BYTES_MAX} are allowed`);
}

function malformed(what: string): EspalierError {
  return new EspalierError('REQUEST_INVALID', `the request can't be read: ${what}`);
}

function enveloped(body: Uint8Array): Uint8Array {
  const length = body.byteLength < ENVELOPE_BYTES ? NaN : new DataView(body.buffer, body.byteOffset).getUint32(1);
  if (length !== body.byteLength - ENVELOPE_BYTES || body[0] !== 0)
    throw malformed(`one message is needed, behind a byte 0 and its length in four bytes; ${body.byteLength} bytes came`);
  return body.subarray(ENVELOPE_BYTES);
}

function requireBinary(input: DescMessage, message: Uint8Array): void {
  try {
    fromBinary(input, message);
  } catch (error) {
    throw malformed(`it is not a valid ${input.typeName} (${(error as Error).message})`);
  }
}

function requireJson(input: DescMessage, message: Uint8Array): void {
  let value: JsonValue;
  try {
    value = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(message)) as JsonValue;
  } catch (error) {
    throw malformed(`it is not JSON (${(error as Error).message})`);
  }
  try {
    fromJson(input, value);
  } catch (error) {
    throw fieldError((error as Error).message);
  }
}

/** Turns the library's error into one with a field. The library names a field and its message, but not the path to it. */
function fieldError(message: string): EspalierError {
  const [, type, key] = /^cannot decode message (\S+) from JSON: key "(.*)" is unknown$/s.exec(message) ?? [];
  if (type !== undefined && key !== undefined) {
    const names = fileRegistry()
      .getMessage(type)
      ?.fields.map(({ jsonName }) => jsonName);
    return invalidField('FIELD_UNKNOWN', key.slice(0, 100), `is not a field of ${type}; allowed are ${names?.join(', ') ?? 'others'}`);
  }
  const [, field, why] = /^cannot decode field \S+\.(\w+) from JSON: (.*)$/s.exec(message) ?? [];
  if (field !== undefined && why !== undefined) return invalidField('FIELD_UNKNOWN_VALUE', field, `can't be read: ${why.slice(0, 300)}`);
  return malformed(message.slice(0, 300));
}
