// Checks rules that hold for every request, whatever its method: required fields are set, numbers are finite, enums are known, budgets are
// not 0, and no field is too long. The check follows the descriptors and comes before a handler gets the message.
import { BUDGET_FIELDS, hasSuffixes } from '#comparison';
import { ScalarType, type DescField, type DescMessage } from '@bufbuild/protobuf';
import { ServerInterceptingCall, type Metadata, type ServerInterceptor } from '@grpc/grpc-js';
import { methodAt } from './descriptors.js';
import { invalidRequest, type FieldViolation } from './espalier-error.js';
import { reportFailure } from './grpc-handlers.js';
import { toServiceError } from './service-error.js';
import { unknownFieldOf } from './unknown-fields.js';
import { hiddenCharacter } from './visible-text.js';
import { valueOf, type Message } from './field-values.js';
import { settingOfField } from './settings/settings-table.js';

/** The largest request. Requests have only short fields, so no client needs to send more. */
export const REQUEST_BYTES_MAX = 1 << 20;

/** The most characters of a string, or items of a list, by the name of the field. A name means the same in all methods. */
const LONGEST: Record<string, number> = {
  request_id: 128,
  name: 200,
  name_contains: 200,
  reason: 1_000,
  note: 2_000,
  tags: 64,
  add_tags: 64,
  remove_tags: 64,
  run_id: 200, // a run's name is allowed too
  study_id: 200,
  page_id: 64,
  title: 200,
  markdown: 65_536,
  panels: 64,
  variant: 100,
  runs: 1_000,
  parent_run_id: 200,
  left_run_id: 200,
  right_run_id: 200,
  digest: 64,
  state_digest: 64,
  export_digest: 64,
  preset: 64,
  form: 64,
  dtype: 64,
  format: 64,
  order_by: 64,
  compute_dtype: 64,
  prompts: 65_536,
  yaml: 262_144,
  piece: 262_144,
  stop: 1_000,
  after_position: 128,
  lora_targets: 64,
  types: 64,
  quantities: 64,
  statuses: 64,
};
/** The limit for all other fields: paths, page tokens, parts of paths. */
const LONGEST_OTHERWISE = 4_096;
/** Whole numbers above this are no longer exact. That matters for steps, offsets and revisions, but not for a seed. */
const LARGEST_EXACT = BigInt(Number.MAX_SAFE_INTEGER);
const ANY_64_BITS = new Set(['seed']);
const MOST_VIOLATIONS = 10;

/**
 * The budgets of a run. Inside the server 0 stands for a budget that a run does not have. A client that sends 0 may have failed to compute
 * its budget, and would get a run with another target.
 */
const NOT_ZERO = new Set(BUDGET_FIELDS);

/** The fields with texts that people read. Nothing in them may act upon a terminal, or be invisible. */
const READABLE = new Set(['request_id', 'name', 'reason', 'note', 'tags', 'add_tags', 'remove_tags', 'variant', 'title']);

/** The fields that a message must have, with the words for what belongs there. */
const NEEDED: Record<string, string> = {
  'LaunchRunRequest.model_path': 'the folder of a Hugging Face model',
  'LaunchRunRequest.data': 'training text',
  'MeasureSpeedTableRequest.model_path': 'the folder of a Hugging Face model',
  'LaunchStudyFileRequest.yaml': 'the text of a file that describes a study',
  'LaunchStudyRequest.name': 'a name for the study',
  'SavePageRequest.name': 'a name for the page',
  'StudyRunRequest.variant': 'the name of its line in tables and plots',
  'StudyRunRequest.model_path': 'the folder of a Hugging Face model',
  'StudyRunRequest.data': 'training text',
  'DataSource.train_path': 'a file or folder of training text',
};

/** Returns everything that is wrong with the form of a message. Fields have their names of the protocol: "settings.target_sparsity". */
export function violationsOf(type: DescMessage, message: object): FieldViolation[] {
  const unknown = unknownFieldOf(message);
  const violations = unknown === undefined ? [] : [unknownToServer(unknown)];
  checkMessage(type, message as Message, '', violations);
  return violations.slice(0, MOST_VIOLATIONS);
}

/**
 * Checks a request that the server makes itself, from a file.
 * @param path the path of the method that takes the request
 * @throws EspalierError as for a request of a client
 */
export function requireForm(path: string, message: object): void {
  const input = methodAt(path)?.input;
  const violations = input === undefined ? [] : violationsOf(input, message);
  if (violations.length > 0) throw invalidRequest(violations);
}

/** Refuses a wrong request before its handler is called. The error names each wrong field. */
export const requestChecks: ServerInterceptor = (method, call) => {
  const input = methodAt(method.path)?.input;
  let headers: Metadata | undefined;
  return new ServerInterceptingCall(call, {
    start: (next) =>
      next({
        onReceiveMetadata: (metadata, pass) => {
          headers = metadata;
          pass(metadata);
        },
        onReceiveMessage: (message: object, pass) => {
          const violations = input === undefined ? [] : violationsOf(input, message);
          if (violations.length === 0) return pass(message);
          const error = invalidRequest(violations);
          reportFailure(method.path, error, headers);
          call.sendStatus(toServiceError(error));
        },
      }),
  });
};

function checkMessage(type: DescMessage, message: Message, prefix: string, violations: FieldViolation[]): void {
  for (const field of type.fields) {
    const needed = NEEDED[`${type.name}.${field.name}`];
    // A message that is not set lacks the same fields as an empty message.
    const value = valueOf(field, message) ?? (needed !== undefined && field.message !== undefined ? {} : undefined);
    if (value === undefined || violations.length >= MOST_VIOLATIONS) continue;
    const path = prefix + field.name;
    if (needed !== undefined && value === '') violations.push({ field: path, description: `is needed: ${needed}`, code: 'FIELD_REQUIRED' });
    if (field.fieldKind === 'list' || field.fieldKind === 'map') {
      const items = field.fieldKind === 'list' ? (value as unknown[]) : Object.values(value);
      const most = longest(field);
      if (items.length > most) violations.push(outOfRange(path, `must have at most ${most} items, has ${items.length}`));
      else items.forEach((item, index) => checkValue(field, item, `${path}[${index}]`, violations));
    } else checkValue(field, value, path, violations);
  }
}

function checkValue(field: DescField, value: unknown, path: string, violations: FieldViolation[]): void {
  if (field.message !== undefined) {
    if (!(value instanceof Date)) checkMessage(field.message, value as Message, `${path}.`, violations);
  } else if (field.enum !== undefined) {
    const { values } = field.enum;
    if (values.some(({ number }) => number === value)) return;
    const description = `${String(value)} is not one of its values: ${values.map(({ name, number }) => `${number} (${name})`).join(', ')}`;
    violations.push({ field: path, description, code: 'FIELD_UNKNOWN_VALUE' });
  } else {
    const problem = scalarProblem(field, value);
    if (problem !== undefined) violations.push(outOfRange(path, problem));
  }
}

function scalarProblem(field: DescField, value: unknown): string | undefined {
  if (typeof value === 'number' && (field.scalar === ScalarType.DOUBLE || field.scalar === ScalarType.FLOAT))
    return numberProblem(field, value);
  if (typeof value === 'bigint') {
    if (ANY_64_BITS.has(field.name) || (value <= LARGEST_EXACT && value >= -LARGEST_EXACT)) return undefined;
    return `must be at most ${LARGEST_EXACT} in size, is ${value}`;
  }
  const most = longest(field);
  if (typeof value === 'string' && value.length > most) return `must have at most ${most} characters, has ${value.length}`;
  if (typeof value === 'string' && value.includes('\0')) return 'must not contain the character U+0000';
  if (typeof value === 'string' && READABLE.has(field.name)) {
    const hidden = hiddenCharacter(value);
    if (hidden !== undefined) return `must not contain control, formatting or invisible characters, has ${hidden}`;
  }
  if (value instanceof Uint8Array && value.length > most) return `must have at most ${most} bytes, has ${value.length}`;
  return undefined;
}

function numberProblem({ name }: DescField, value: number): string | undefined {
  if (!Number.isFinite(value)) return `must be a finite number, is ${value}`;
  if (!NOT_ZERO.has(name)) return undefined;
  if (value === 0) return 'must be above 0, is 0: a run without this budget leaves it out';
  const { unit } = settingOfField(name);
  return hasSuffixes(unit) && !Number.isInteger(value) ? `must be a whole number of ${unit}, is ${value}` : undefined;
}

function longest({ name }: DescField): number {
  return LONGEST[name] ?? LONGEST_OTHERWISE;
}

/** @param path the field's path, with its number in place of its name: "settings.57" */
function unknownToServer(path: string): FieldViolation {
  const description =
    'is a field that this server, which is older than the client, does not know: update the server, or leave the field out';
  return { field: path, description, code: 'FIELD_UNKNOWN' };
}

function outOfRange(field: string, description: string): FieldViolation {
  return { field, description, code: 'FIELD_OUT_OF_RANGE' };
}
