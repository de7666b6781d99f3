// Every stable code that a client can meet, and the gRPC status it travels with. A code that is missing here is a defect:
// it would reach the client as INTERNAL. Codes never change their meaning; new causes get new codes.
import { status } from '@grpc/grpc-js';

const invalid = status.INVALID_ARGUMENT;
const precondition = status.FAILED_PRECONDITION;

const errorStatuses = {
  // the request
  REQUEST_INVALID: invalid, // see the field violations
  INVALID_ARGUMENT: invalid, // an option that the native engine refuses
  FIELD_REQUIRED: invalid,
  FIELD_OUT_OF_RANGE: invalid,
  BUDGET_OUT_OF_REACH: invalid, // less than what no mask can take away, or more than the intact model
  BUDGETS_CONFLICT: invalid, // two targets at once
  SPEED_TABLE_INVALID: invalid, // malformed, not monotone, or measured for another model
  REQUEST_TOO_LARGE: status.RESOURCE_EXHAUSTED,
  FIELD_UNKNOWN: invalid, // in JSON: the message has none of that name
  FIELD_UNKNOWN_VALUE: invalid,
  SEQUENCE_TOO_LONG: invalid,
  PAGE_TOKEN_INVALID: invalid,
  RUN_ID_AMBIGUOUS: invalid,
  STUDY_ID_AMBIGUOUS: invalid,
  DIGEST_AMBIGUOUS: invalid,
  FORK_FIELD_FIXED: invalid,
  RUN_NAME_INVALID: invalid, // blank, or another run's id or its beginning
  RUN_NAME_TAKEN: status.ALREADY_EXISTS, // another run has it: neither could be named by it any more
  CONFIG_INVALID: invalid, // the file of a run, a study, webhooks, a fleet or an OpenID provider, at the line that the message names
  REQUEST_ID_REUSED: status.ALREADY_EXISTS,
  // what it names
  RUN_NOT_FOUND: status.NOT_FOUND,
  TEACHER_NOT_FOUND: status.NOT_FOUND,
  TEACHER_ABANDONED: precondition,
  STATE_NOT_FOUND: status.NOT_FOUND,
  EXPORT_NOT_FOUND: status.NOT_FOUND,
  STUDY_NOT_FOUND: status.NOT_FOUND,
  JOB_NOT_FOUND: status.NOT_FOUND, // the server has forgotten it, or never had it
  REVISION_NOT_FOUND: status.OUT_OF_RANGE,
  // what the run allows
  RUN_FINISHED: precondition,
  RUN_NOT_STARTED: precondition,
  RUN_STILL_ACTIVE: precondition,
  RUN_DELETED: precondition,
  RUN_DAMAGED: precondition, // an event of its record can't be read; a backup of the event store helps
  STUDY_ENDED: precondition, // all its runs have ended, or it was cancelled
  STUDY_FIXED: precondition, // its runs follow from what its first rungs came to
  STUDY_DAMAGED: precondition,
  NUMERICS_CHANGED: precondition,
  QUANTIZER_MISSING: precondition, // llama.cpp's, which some types of an export need
  QUANTIZER_FAILED: status.INTERNAL,
  EXPORT_DIFFERS: precondition, // a loader computes something else than the masked student; the export is not recorded
  ATTEMPT_STALE: status.ABORTED,
  CONFLICTING_CHANGES: status.ABORTED,
  // model and data
  MODEL_NOT_FOUND: status.NOT_FOUND,
  MODEL_CONFIG_INVALID: invalid,
  MODEL_UNSUPPORTED: invalid,
  MODEL_CORRUPT: status.DATA_LOSS,
  MODEL_CHANGED: precondition,
  ARCHITECTURE_UNSUPPORTED: invalid,
  ROPE_UNSUPPORTED: invalid,
  WEIGHTS_NOT_FOUND: status.NOT_FOUND,
  WEIGHTS_TRUNCATED: status.DATA_LOSS,
  WEIGHTS_CORRUPT: status.DATA_LOSS,
  WEIGHTS_SHAPE_MISMATCH: invalid,
  WEIGHT_NOT_FINITE: invalid, // NaN or an infinity in a tensor of the model
  TOKENIZER_NOT_FOUND: status.NOT_FOUND,
  TOKENIZER_INVALID: invalid,
  TOKENIZER_MISMATCH: invalid,
  CHAT_TEMPLATE_NOT_FOUND: precondition, // the model has none
  CHAT_TEMPLATE_INVALID: invalid, // the model's own, or what it was to write
  DATA_NOT_FOUND: status.NOT_FOUND,
  DATA_EMPTY: invalid,
  DATA_MALFORMED: invalid,
  DATA_TOO_SHORT: invalid,
  DATA_UNSUPPORTED: invalid,
  DATA_UNREADABLE: precondition,
  DATA_CHANGED: precondition, // while it was read
  DATA_TOO_LARGE: invalid, // unpacked, or in files
  READER_LOST: status.UNAVAILABLE, // the process that reads users' files was killed, or could not be started: the file is not to blame
  TOKENIZER_TIMEOUT: invalid, // it hangs on a document
  TOKENIZER_EXPANDS: invalid, // it makes too many tokens of a document
  TASK_NOT_FOUND: status.NOT_FOUND,
  TASK_INVALID: invalid, // a task's file
  TASK_DATA_NOT_FOUND: status.NOT_FOUND, // no folder of the task, or no file of its split
  TASK_DATA_INVALID: invalid, // a column is missing, or a value is not one that the task knows
  FILE_NOT_REGULAR: invalid, // a FIFO, a device, a folder where a file is needed
  FILE_TOO_LARGE: invalid,
  // engine
  ENGINE_UNAVAILABLE: status.UNAVAILABLE,
  ENGINE_LOST: status.UNAVAILABLE,
  ENGINE_LEFT: status.UNAVAILABLE, // it ended in good order while it trained: its time was over, or a user ended it
  ENGINE_HUNG: status.UNAVAILABLE,
  DEVICE_LOST: status.UNAVAILABLE, // a card's kernel failed: the engine's process ends, and another takes its place
  ENGINE_FAILED: status.INTERNAL,
  ENGINE_BUSY: status.UNAVAILABLE,
  ENGINE_ADDRESS_INVALID: invalid,
  ENGINE_ATTACHED_ELSEWHERE: status.UNAVAILABLE, // another orchestrator has it, until its lease runs out
  ENGINE_NAME_TAKEN: status.ALREADY_EXISTS, // an engine of this name is there
  FLEET_UNREACHABLE: status.UNAVAILABLE, // the cluster does not say which jobs there are
  FLEET_JOB_REFUSED: status.UNAVAILABLE, // the cluster takes no job, for the reason that it gave
  FLEET_JOB_FAILED: status.UNAVAILABLE, // a job ended before its engine joined
  ENGINE_OF_ANOTHER_USER: precondition, // the other user would get this user's data
  // files of a model that the machine of a joined engine lacks
  MODEL_NOT_OFFERED: precondition, // to this process of the engine: offer it, then name it
  MODEL_FILES_BUSY: status.UNAVAILABLE, // another engine of the machine receives them
  MODEL_FILE_DAMAGED: status.DATA_LOSS, // it arrived with other bytes than those that were announced
  MODEL_CACHE_FULL: status.RESOURCE_EXHAUSTED, // its limit or its disk has no room beside the models in use
  MODEL_CACHE_UNUSABLE: precondition, // its folder can't be written, or holds what no cache put there
  SESSION_NOT_FOUND: precondition,
  SESSION_ALREADY_OPEN: status.ALREADY_EXISTS,
  TRAINING_NOT_KEPT: precondition, // the lease was over before the orchestrator was back
  TEACHER_NOT_LOADED: precondition, // in this session: load it, then train
  IO_ERROR: precondition, // the operating system refused a read or a write
  STATE_CORRUPT: status.DATA_LOSS,
  OUT_OF_MEMORY: status.RESOURCE_EXHAUSTED,
  BACKEND_UNSUPPORTED: status.UNIMPLEMENTED,
  // stores
  EVENT_STORE_ADDRESS_INVALID: invalid,
  EVENT_STORE_UNAVAILABLE: status.UNAVAILABLE,
  EVENT_STORE_FAILED: status.INTERNAL,
  STORE_DISK_FULL: status.RESOURCE_EXHAUSTED,
  STORE_READ_ONLY: precondition,
  STORE_LOCKED: status.UNAVAILABLE,
  STORE_STOPPING: status.UNAVAILABLE,
  STORE_FAILED: status.UNAVAILABLE,
  STORE_CORRUPT: status.DATA_LOSS,
  EVENT_CORRUPT: status.DATA_LOSS, // verification names each one
  WRONG_EXPECTED_REVISION: status.ABORTED,
  EVENTS_MISSING: precondition, // the store lacks events that this server has seen in it
  STORE_REPEAT_DIFFERS: status.DATA_LOSS, // an append has the ids of stored events, and other bytes
  ARTIFACT_MISSING: status.DATA_LOSS,
  ARTIFACT_CORRUPT: status.DATA_LOSS,
  ARTIFACT_NOT_FOUND: status.NOT_FOUND,
  ARTIFACT_DISCARDED: status.NOT_FOUND, // a user had it removed; the message names the event that says so
  ARTIFACT_STORE_FULL: status.RESOURCE_EXHAUSTED,
  ARTIFACT_STORE_READ_ONLY: precondition,
  ARTIFACT_STORE_UNAVAILABLE: status.UNAVAILABLE,
  ARTIFACT_STORE_BUSY: status.UNAVAILABLE, // a bucket asks for fewer requests
  ARTIFACT_STORE_DENIED: precondition, // a bucket refuses the credentials, or there are none
  ARTIFACT_STORE_NOT_FOUND: precondition, // no such bucket
  ARTIFACT_STORE_CLOCK: precondition, // this machine's clock and the bucket's are too far apart
  ARTIFACT_STORE_ADDRESS_INVALID: invalid,
  ARTIFACT_DIGEST_INVALID: invalid,
  STORAGE_FULL: status.RESOURCE_EXHAUSTED, // of the data folder: nothing can be recorded until there is room
  STORAGE_UNUSABLE: status.UNAVAILABLE, // the data folder can't be written
  VIEW_LAGGING: status.UNAVAILABLE,
  // how a run can end, or be interrupted
  TRAINING_DIVERGED: precondition, // of runs recorded before STEPS_SKIPPED
  STEPS_SKIPPED: precondition, // most steps were not finite: nothing was learned from them
  EVALUATION_NOT_FINITE: status.DATA_LOSS,
  ORCHESTRATOR_RESTARTED: status.UNAVAILABLE,
  ATTEMPT_UNRECORDED: status.UNAVAILABLE,
  // starting
  DATA_FOLDER_IN_USE: precondition,
  DATA_FOLDER_UNUSABLE: precondition,
  DATA_FOLDER_FOREIGN: invalid, // it holds what no server of ours put there
  ARTIFACTS_OF_ANOTHER_STORE: precondition,
  LISTEN_FAILED: status.UNAVAILABLE,
  STORE_TLS_UNUSABLE: precondition, // a certificate, key or password file of the event store is damaged
  TLS_FILES_UNUSABLE: precondition, // the certificate, its key or the authority of clients
  ADDRESS_INSECURE: precondition, // others could reach it, and nothing asks who they are
  // of several orchestrators on one event store this one does not drive the runs
  ORCHESTRATOR_STANDBY: status.UNAVAILABLE,
  // who calls
  TOKEN_NEEDED: status.UNAUTHENTICATED,
  TOKEN_WRONG: status.UNAUTHENTICATED,
  TOKEN_REVOKED: status.UNAUTHENTICATED,
  TOKEN_EXPIRED: status.UNAUTHENTICATED,
  TOKENS_UNKNOWN: status.UNAVAILABLE, // the record of tokens can't be read whole, so none of them is accepted
  TOKEN_NOT_FOUND: status.NOT_FOUND,
  TOKEN_NAME_TAKEN: status.ALREADY_EXISTS,
  ROLE_TOO_LOW: status.PERMISSION_DENIED, // the method, or this use of it, needs a higher role
  PATH_NOT_ALLOWED: status.PERMISSION_DENIED, // it lies in no folder that callers with tokens may name
  LOGIN_ENDED: status.UNAUTHENTICATED, // a person's login is over: the person logs in again
  LOGIN_CHANGED: status.UNAUTHENTICATED, // the person has a lower role now; open calls end, and the next one has the new role
  LOGIN_FAILED: status.UNAUTHENTICATED, // the provider's answer, or the way to it, is not as it should be
  LOGIN_REFUSED: status.PERMISSION_DENIED, // the provider knows the person, and this server does not let the person in
  LOGIN_UNAVAILABLE: status.UNAVAILABLE, // the provider can't be asked
  LOGIN_NOT_OFFERED: precondition, // the server has no provider, or the provider has no logins of this kind
  LOGIN_NOT_FOUND: status.NOT_FOUND,
  LOGIN_AMBIGUOUS: invalid, // several people have the name
  LOGIN_NEEDED: status.UNAUTHENTICATED, // the browser's cookie is not from this server, or too old
  HOST_FOREIGN: status.PERMISSION_DENIED, // a name that is not this server's leads to it
  ORIGIN_FOREIGN: status.PERMISSION_DENIED, // a page of another origin calls
  JOB_GAVE_WAY: status.ABORTED, // it held an engine for long, and a run waited for that engine
  TOO_MANY_CALLS: status.RESOURCE_EXHAUSTED, // at once, of this client or of all
  CALLS_TOO_FAST: status.RESOURCE_EXHAUSTED, // one person makes more calls a second than the server allows
  // the rest
  CANCELLED: status.CANCELLED,
  DEADLINE_EXCEEDED: status.DEADLINE_EXCEEDED,
  NOT_SUPPORTED: status.UNIMPLEMENTED,
  SHUTTING_DOWN: status.UNAVAILABLE,
  INTERNAL: status.INTERNAL,
} as const satisfies Record<string, status>;

export type ErrorCode = keyof typeof errorStatuses;

export function isErrorCode(code: unknown): code is ErrorCode {
  return typeof code === 'string' && Object.hasOwn(errorStatuses, code);
}

/** Codes that come from a library or a later engine and are not in the table keep their name but travel as INTERNAL. */
export function statusOf(code: string): status {
  return isErrorCode(code) ? errorStatuses[code] : status.INTERNAL;
}
