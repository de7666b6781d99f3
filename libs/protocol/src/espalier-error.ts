import type { ErrorCode } from './error-codes.js';

export interface FieldViolation {
  /** The path of the field in the request, nested with dots: "settings.target_sparsity". */
  field: string;
  /** Says what is wrong and which values are allowed. */
  description: string;
  code: string;
}

export interface ErrorDetails {
  violations?: FieldViolation[];
  /** Further facts by name, for programs: run_id, digest, ... */
  metadata?: Record<string, string>;
  cause?: unknown;
}

/** An error with a code that stays the same from the engine over the orchestrator to the client. */
export class EspalierError extends Error {
  readonly violations: FieldViolation[];
  readonly metadata: Record<string, string>;

  constructor(
    readonly code: string,
    message: string,
    details: ErrorDetails = {},
  ) {
    super(message, details.cause === undefined ? undefined : { cause: details.cause });
    this.name = new.target.name;
    this.violations = details.violations ?? [];
    this.metadata = details.metadata ?? {};
  }

  /** The first field that the error names; '' where it names none. */
  get field(): string {
    return this.violations[0]?.field ?? this.metadata['field'] ?? '';
  }
}

/** Makes the error of one wrong field. */
export function invalidField(code: ErrorCode, field: string, description: string): EspalierError {
  return new EspalierError(code, `${field}: ${description}`, { violations: [{ field, description, code }] });
}

/** Makes one error of all wrong fields of a request. A single wrong field keeps its own code. */
export function invalidRequest(violations: FieldViolation[]): EspalierError {
  const [only, ...others] = violations;
  const code = only !== undefined && others.length === 0 ? only.code : 'REQUEST_INVALID';
  return new EspalierError(code, violations.map((one) => `${one.field}: ${one.description}`).join('; '), { violations });
}
