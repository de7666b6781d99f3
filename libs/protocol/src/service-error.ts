// Translates errors to gRPC and back: status and message, and a google.rpc.Status with ErrorInfo and BadRequest in
// `grpc-status-details-bin`.
import { Metadata, status, type ServiceError } from '@grpc/grpc-js';
import { EspalierError, type FieldViolation } from './espalier-error.js';
import { isErrorCode, statusOf } from './error-codes.js';
import { BadRequest, ErrorInfo } from './generated/google/rpc/error_details.js';
import { Status } from './generated/google/rpc/status.js';

const DETAILS_KEY = 'grpc-status-details-bin';
const DOMAIN = 'espalier';
const ERROR_INFO_URL = 'type.googleapis.com/google.rpc.ErrorInfo';
const BAD_REQUEST_URL = 'type.googleapis.com/google.rpc.BadRequest';

/**
 * The most bytes of the details. Clients accept trailers of 8 KiB in all, and reset the stream if there are more. The message is sent twice
 * in them: once with up to three characters a byte, and once with the details in base64.
 */
const DETAILS_BYTES_MAX = 3_400;
const MESSAGE_CHARACTERS_MAX = 2_400;
const MOST_VIOLATIONS = 20;

/**
 * Makes the error for a server's callback or stream. An error without a stable code becomes INTERNAL, because its text may hold anything.
 */
export function toServiceError(error: unknown): ServiceError {
  const known = toEspalierError(error);
  const code = known.violations.length > 0 && !isErrorCode(known.code) ? status.INVALID_ARGUMENT : statusOf(known.code);
  let longest = 1_000;
  let details = detailsOf(known, code, longest, MOST_VIOLATIONS);
  for (; details.length > DETAILS_BYTES_MAX; longest /= 2) details = detailsOf(known, code, longest, Math.ceil(longest / 50));
  let message = cut(known.message, longest);
  for (; encodeURI(message).length > MESSAGE_CHARACTERS_MAX; longest /= 2) message = cut(known.message, longest);
  const metadata = new Metadata();
  metadata.set(DETAILS_KEY, details);
  return Object.assign(new Error(message), { name: 'ServiceError', code, details: message, metadata });
}

function detailsOf(known: EspalierError, code: status, longest: number, most: number): Buffer {
  const facts = Object.entries(known.metadata).slice(0, most);
  const metadata = Object.fromEntries(facts.map(([name, value]) => [name, cut(value, longest)]));
  const details = [
    { typeUrl: ERROR_INFO_URL, value: Buffer.from(ErrorInfo.encode({ reason: known.code, domain: DOMAIN, metadata }).finish()) },
  ];
  if (known.violations.length > 0) {
    const fieldViolations = known.violations
      .slice(0, most)
      .map((one) => ({ field: cut(one.field, longest), description: cut(one.description, longest), reason: one.code }));
    details.push({ typeUrl: BAD_REQUEST_URL, value: Buffer.from(BadRequest.encode({ fieldViolations }).finish()) });
  }
  return Buffer.from(Status.encode({ code, message: cut(known.message, longest), details }).finish());
}

/** Returns the details in an error's metadata, which stand beside its status and message. */
export function errorDetails(metadata: Metadata): Status['details'] {
  const raw = metadata.get(DETAILS_KEY)[0];
  return raw instanceof Uint8Array ? Status.decode(raw).details : [];
}

/** Cuts a text. A text that ends within a character could not be encoded, so that half is replaced. */
function cut(text: string, longest: number): string {
  if (text.length <= longest) return text.toWellFormed();
  return `${text.slice(0, longest)} ... (${text.length} characters)`.toWellFormed();
}

/** Gives any error its stable code: its own, the `code` of a library's error, or INTERNAL. */
export function toEspalierError(error: unknown): EspalierError {
  if (error instanceof EspalierError) return error;
  if (isServiceError(error)) return fromServiceError(error);
  const { code, field, message } = (error ?? {}) as { code?: unknown; field?: unknown; message?: unknown };
  // Upper snake case with an underscore is a stable code. A code like ENOENT is not.
  if (typeof code === 'string' && (isErrorCode(code) || /^[A-Z0-9]+(_[A-Z0-9]+)+$/.test(code)) && !code.startsWith('ERR_')) {
    const violations = typeof field === 'string' && field !== '' ? [{ field, description: String(message), code }] : [];
    return new EspalierError(code, String(message), { violations, cause: error });
  }
  return new EspalierError('INTERNAL', error instanceof Error ? error.message : String(error), { cause: error });
}

/** Reads a failed call at a client: the stable code, the wrong fields and the metadata. */
export function fromServiceError(error: ServiceError): EspalierError {
  const message = error.details || error.message;
  const raw = error.metadata?.get(DETAILS_KEY)[0];
  if (!(raw instanceof Uint8Array)) return new EspalierError(codeOfStatus(error.code), message, { cause: error });
  let code = codeOfStatus(error.code);
  let metadata: Record<string, string> = {};
  const violations: FieldViolation[] = [];
  try {
    for (const detail of Status.decode(raw).details) {
      if (detail.typeUrl === ERROR_INFO_URL) {
        const info = ErrorInfo.decode(detail.value);
        code = info.reason;
        metadata = info.metadata;
      } else if (detail.typeUrl === BAD_REQUEST_URL) {
        for (const one of BadRequest.decode(detail.value).fieldViolations) {
          violations.push({ field: one.field, description: one.description, code: one.reason });
        }
      }
    }
  } catch {
    // The details are in another format, so only status and message count.
  }
  return new EspalierError(code, message, { violations, metadata, cause: error });
}

export function isServiceError(error: unknown): error is ServiceError {
  return error instanceof Error && typeof (error as ServiceError).code === 'number' && 'metadata' in error;
}

/** Returns the name of a status. It is all that is known if the server sent only a status, or there is no server. */
function codeOfStatus(code: status): string {
  return status[code] ?? 'UNKNOWN';
}
