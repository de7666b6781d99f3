// Errors on the wire: gRPC status and message, and a google.rpc.Status with ErrorInfo and BadRequest in
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

/** For a server's callback or stream. Errors without a stable code become INTERNAL: their text may hold anything. */
export function toServiceError(error: unknown): ServiceError {
  const known = toEspalierError(error);
  const details = [
    {
      typeUrl: ERROR_INFO_URL,
      value: Buffer.from(ErrorInfo.encode({ reason: known.code, domain: DOMAIN, metadata: known.metadata }).finish()),
    },
  ];
  if (known.violations.length > 0) {
    const fieldViolations = known.violations.map((one) => ({ field: one.field, description: one.description, reason: one.code }));
    details.push({ typeUrl: BAD_REQUEST_URL, value: Buffer.from(BadRequest.encode({ fieldViolations }).finish()) });
  }
  const code = known.violations.length > 0 && !isErrorCode(known.code) ? status.INVALID_ARGUMENT : statusOf(known.code);
  const metadata = new Metadata();
  metadata.set(DETAILS_KEY, Buffer.from(Status.encode({ code, message: known.message, details }).finish()));
  return Object.assign(new Error(known.message), { name: 'ServiceError', code, details: known.message, metadata });
}

/** Any error with its stable code: ours, that of a library with a `code`, or INTERNAL. */
export function toEspalierError(error: unknown): EspalierError {
  if (error instanceof EspalierError) return error;
  if (isServiceError(error)) return fromServiceError(error);
  const { code, field, message } = (error ?? {}) as { code?: unknown; field?: unknown; message?: unknown };
  // Upper snake case with an underscore: a stable code. ENOENT and the like are none.
  if (typeof code === 'string' && (isErrorCode(code) || /^[A-Z0-9]+(_[A-Z0-9]+)+$/.test(code)) && !code.startsWith('ERR_')) {
    const violations = typeof field === 'string' && field !== '' ? [{ field, description: String(message), code }] : [];
    return new EspalierError(code, String(message), { violations, cause: error });
  }
  return new EspalierError('INTERNAL', error instanceof Error ? error.message : String(error), { cause: error });
}

/** For a client: the stable code, field violations and metadata of a failed call. */
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
    // Details of another make: status and message stand by themselves.
  }
  return new EspalierError(code, message, { violations, metadata, cause: error });
}

export function isServiceError(error: unknown): error is ServiceError {
  return error instanceof Error && typeof (error as ServiceError).code === 'number' && 'metadata' in error;
}

/** A server that says no more than a gRPC status, or no server at all. */
function codeOfStatus(code: status): string {
  return status[code] ?? 'UNKNOWN';
}
