// Every stable code that a client can get, with its gRPC status. A code that is missing here is a defect, since it reaches the client as
// INTERNAL. A code never changes its meaning; new causes get new codes.
import { status } from '@grpc/grpc-js';

const invalid = status.INVALID_ARGUMENT;
const precondition = status.FAILED_PRECONDITION;

const errorStatuses = {
  // The request.
  REQUEST_INVALID: invalid, // see the field violations
  INVALID_ARGUMENT: invalid, // an option that the native engine refuses
  FIELD_REQUIRED: invalid,
  FIELD_OUT_OF_RANGE: invalid,
  BUDGET_OUT_OF_REACH: invalid, // more than masks can remove, or more than the intact model has
  TIME_TOO_SHORT: invalid, // the message names the shortest that works
  BUDGETS_CONFLICT: invalid, // two targets at once
  SPEED_TABLE_INVALID: invalid, // malformed, not monotone, or measured for another model
  LIBRARY_UNFIT: invalid, // not a completed run of recipe scan, or of a model of another shape
  REQUEST_TOO_LARGE: status.RESOURCE_EXHAUSTED,
  FIELD_UNKNOWN: invalid, // the message has no such field, at least in this release
  FIELD_UNKNOWN_VALUE: invalid,
  SEQUENCE_TOO_LONG: invalid,
  PAGE_TOKEN_INVALID: invalid,
  RUN_ID_AMBIGUOUS: invalid,
  STUDY_ID_AMBIGUOUS: invalid,
  DIGEST_AMBIGUOUS: invalid,
  FORK_FIELD_FIXED: invalid,
  RUN_NAME_INVALID: invalid, // blank, or another run's id or its beginning
  RUN_NAME_TAKEN: status.ALREADY_EXISTS, // another run has this name, and a name must stand for one run
  CONFIG_INVALID: invalid, // the file of a run, study, webhooks, fleet or OpenID provider; the message names the line
  REQUEST_ID_REUSED: status.ALREADY_EXISTS,
  // The things that a request names.
  RUN_NOT_FOUND: status.NOT_FOUND,
  TEACHER_NOT_FOUND: status.NOT_FOUND,
  TEACHER_ABANDONED: precondition,
  STATE_NOT_FOUND: status.NOT_FOUND,
  EXPORT_NOT_FOUND: status.NOT_FOUND,
  STUDY_NOT_FOUND: status.NOT_FOUND,
  PAGE_NOT_FOUND: status.NOT_FOUND,
  MODEL_NOT_MEASURED: status.NOT_FOUND,
  JOB_LOST: status.ABORTED, // the server ended while the job was under way
  JOB_NOT_FOUND: status.NOT_FOUND, // the server has forgotten the job, or never had it
  REVISION_NOT_FOUND: status.OUT_OF_RANGE,
  // The state of the run.
  RUN_FINISHED: precondition,
  RUN_NOT_STARTED: precondition,
  RUN_STILL_ACTIVE: precondition,
  RUN_DELETED: precondition,
  RUN_DAMAGED: precondition, // an event of its record can't be read; a backup of the event store helps
  STUDY_ENDED: precondition, // all its runs have ended, or it was cancelled
  STUDY_FIXED: precondition, // its runs follow from the results of its first rungs
  STUDY_DAMAGED: precondition,
  PAGE_CHANGED: status.ABORTED, // it was saved by another one meanwhile
  PAGE_DAMAGED: precondition,
  RECORD_DIFFERS: precondition, // the record of a run does not have the digest that the request names
  MODEL_DAMAGED: precondition, // the record of a model that is measured without a run
  NUMERICS_CHANGED: precondition,
  QUANTIZER_MISSING: precondition, // an export needs llama.cpp's quantizer
  QUANTIZER_FAILED: status.INTERNAL,
  EXPORT_DIFFERS: precondition, // a loader and the masked student compute different results; the export is not recorded
  ATTEMPT_STALE: status.ABORTED,
  CONFLICTING_CHANGES: status.ABORTED,
  // The model and the data.
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
  CHAT_TEMPLATE_NOT_FOUND: precondition, // the model has no template
  CHAT_TEMPLATE_INVALID: invalid, // the model's template, or the text that it was to write
  DATA_NOT_FOUND: status.NOT_FOUND,
  DATA_EMPTY: invalid,
  DATA_MALFORMED: invalid,
  DATA_TOO_SHORT: invalid,
  DATA_UNSUPPORTED: invalid,
  DATA_UNREADABLE: precondition,
  DATA_CHANGED: precondition, // the file was changed while it was read
  DATA_TOO_LARGE: invalid, // the unpacked bytes, or the number of files
  READER_LOST: status.UNAVAILABLE, // the process that reads users' files was killed, or could not be started: the file is not to blame
  TOKENIZER_TIMEOUT: invalid, // the tokenizer hangs on a document
  TOKENIZER_EXPANDS: invalid, // the tokenizer makes too many tokens of a document
  TASK_NOT_FOUND: status.NOT_FOUND,
  TASK_INVALID: invalid, // the file of a task
  TASK_DATA_NOT_FOUND: status.NOT_FOUND, // the task has no folder, or its split has no file
  TASK_DATA_INVALID: invalid, // a column is missing, or a value is not one that the task knows
  FILE_NOT_REGULAR: invalid, // a FIFO, a device, a folder where a file is needed
  FILE_TOO_LARGE: invalid,
  // The engine.
  ENGINE_UNAVAILABLE: status.UNAVAILABLE,
  ENGINE_LOST: status.UNAVAILABLE,
  ENGINE_LEFT: status.UNAVAILABLE, // the engine ended in good order while it trained: its time was over, or a user ended it
  ENGINE_HUNG: status.UNAVAILABLE,
  ENGINE_SILENT: status.UNAVAILABLE, // the engine lives, and left a question without an answer
  RESULT_CONTRADICTS_STATE: status.UNAVAILABLE, // the engine's report does not fit to the state that it sent: it is set aside
  DEVICE_LOST: status.UNAVAILABLE, // a kernel failed on the card: the engine's process ends, and another takes its place
  ENGINE_FAILED: status.INTERNAL,
  ENGINE_BUSY: status.UNAVAILABLE,
  ENGINE_ADDRESS_INVALID: invalid,
  ENGINE_ATTACHED_ELSEWHERE: status.UNAVAILABLE, // another orchestrator has the engine, until that orchestrator's lease runs out
  ENGINE_NAME_TAKEN: status.ALREADY_EXISTS, // another engine has this name
  FLEET_ABSENT: precondition, // the server was started without a fleet
  FLEET_JOB_NOT_FOUND: status.NOT_FOUND, // the fleet has no such job that waits or runs
  FLEET_ADDRESS_WRONG: precondition, // another server answers at the address at which the engines of the fleet would join
  FLEET_UNREACHABLE: status.UNAVAILABLE, // the cluster does not say which jobs there are
  FLEET_JOB_REFUSED: status.UNAVAILABLE, // the cluster takes no job, for the reason that it gave
  FLEET_JOB_FAILED: status.UNAVAILABLE, // a job ended before its engine joined
  ENGINE_OF_OTHER_RELEASE: precondition, // than the server's: it would drop what it does not know
  ENGINE_OF_ANOTHER_USER: precondition, // the other user would get the caller's data
  // The files of a model that the machine of a joined engine lacks.
  MODEL_NOT_OFFERED: precondition, // this process of the engine was not offered the model: offer it first
  MODEL_FILES_BUSY: status.UNAVAILABLE, // another engine of the machine is receiving the model
  MODEL_FILE_DAMAGED: status.DATA_LOSS, // the file arrived with other bytes than the announced ones
  MODEL_CACHE_FULL: status.RESOURCE_EXHAUSTED, // the cache's limit, or its disk, has no room beside the models in use
  MODEL_CACHE_UNUSABLE: precondition, // the cache's folder can't be written, or holds other files than a cache's
  SESSION_NOT_FOUND: precondition,
  SESSION_ALREADY_OPEN: status.ALREADY_EXISTS,
  TRAINING_NOT_KEPT: precondition, // the lease ran out before the orchestrator was back
  STATE_NOT_HELD: precondition, // the engine holds no state of this digest: it was handed in, or its session has ended
  BUCKET_UNREACHABLE: status.UNAVAILABLE, // the engine gets no answer from the bucket, or an error of its server
  BUCKET_ADDRESS_REFUSED: precondition, // the bucket refuses an address that was signed for the engine: it has expired, for example
  TEACHER_NOT_LOADED: precondition, // the session has not loaded the teacher: load it, then train
  IO_ERROR: precondition, // the operating system refused a read or a write
  ENGINE_DISK_FULL: status.RESOURCE_EXHAUSTED, // the engine's disk has no room for a state
  STATE_CORRUPT: status.DATA_LOSS,
  OUT_OF_MEMORY: status.RESOURCE_EXHAUSTED,
  BACKEND_UNSUPPORTED: status.UNIMPLEMENTED,
  // The stores.
  EVENT_STORE_ADDRESS_INVALID: invalid,
  EVENT_STORE_UNAVAILABLE: status.UNAVAILABLE,
  EVENT_STORE_FAILED: status.INTERNAL,
  STORE_DISK_FULL: status.RESOURCE_EXHAUSTED,
  STORE_READ_ONLY: precondition,
  STORE_LOCKED: status.UNAVAILABLE,
  STORE_STOPPING: status.UNAVAILABLE,
  STORE_FAILED: status.UNAVAILABLE,
  STORE_CORRUPT: status.DATA_LOSS,
  EVENT_CORRUPT: status.DATA_LOSS, // verification names each damaged event
  WRONG_EXPECTED_REVISION: status.ABORTED,
  EVENTS_MISSING: precondition, // the store lacks events that this server has seen in it
  STORE_REPEAT_DIFFERS: status.DATA_LOSS, // an append has the ids of stored events, but other bytes
  ARTIFACT_MISSING: status.DATA_LOSS,
  ARTIFACT_CORRUPT: status.DATA_LOSS,
  ARTIFACT_NOT_FOUND: status.NOT_FOUND,
  ARTIFACT_DISCARDED: status.NOT_FOUND, // a user removed the artifact; the message names the event that says so
  ARTIFACT_STORE_FULL: status.RESOURCE_EXHAUSTED,
  ARTIFACT_STORE_READ_ONLY: precondition,
  ARTIFACT_STORE_UNAVAILABLE: status.UNAVAILABLE,
  ARTIFACT_STORE_BUSY: status.UNAVAILABLE, // the bucket asks for fewer requests
  ARTIFACT_STORE_DENIED: precondition, // the bucket refuses the credentials, or there are none
  ARTIFACT_STORE_NOT_FOUND: precondition, // the bucket does not exist
  ARTIFACT_STORE_CLOCK: precondition, // this machine's clock and the bucket's are too far apart
  ARTIFACT_STORE_ADDRESS_INVALID: invalid,
  ARTIFACT_DIGEST_INVALID: invalid,
  STORAGE_FULL: status.RESOURCE_EXHAUSTED, // the disk of the data folder is full: nothing can be recorded until there is room
  STORAGE_UNUSABLE: status.UNAVAILABLE, // the data folder can't be written
  VIEW_LAGGING: status.UNAVAILABLE,
  // The ends and interruptions of a run.
  TRAINING_DIVERGED: precondition, // the price of sparsity is no number any more; once also for what STEPS_SKIPPED says now
  STEPS_SKIPPED: precondition, // most steps were not finite, so nothing was learned from them
  EVALUATION_NOT_FINITE: status.DATA_LOSS,
  ORCHESTRATOR_RESTARTED: status.UNAVAILABLE,
  ATTEMPT_UNRECORDED: status.UNAVAILABLE,
  // The start of a server.
  INSTALLATION_INCOMPLETE: precondition, // a compiled part of a package is missing
  DATA_FOLDER_IN_USE: precondition,
  DATA_FOLDER_UNUSABLE: precondition,
  DATA_FOLDER_FOREIGN: invalid, // the folder holds files that no server made
  DATA_FOLDER_OF_OTHER_RELEASE: precondition, // it has another format
  WEBHOOKS_OF_LATER_RELEASE: precondition, // the file of waiting notifications has a schema that this release does not know
  ARTIFACTS_OF_ANOTHER_STORE: precondition,
  LISTEN_FAILED: status.UNAVAILABLE,
  STORE_TLS_UNUSABLE: precondition, // a certificate, key or password file of the event store is damaged
  TLS_FILES_UNUSABLE: precondition, // the certificate, its key, or the authority of clients
  ADDRESS_INSECURE: precondition, // other users could reach the address, and no login is asked for
  // Several orchestrators share the event store, and this one does not drive the runs.
  ORCHESTRATOR_STANDBY: status.UNAVAILABLE,
  // The caller.
  TOKEN_NEEDED: status.UNAUTHENTICATED,
  TOKEN_WRONG: status.UNAUTHENTICATED,
  TOKEN_REVOKED: status.UNAUTHENTICATED,
  TOKEN_EXPIRED: status.UNAUTHENTICATED,
  TOKENS_UNKNOWN: status.UNAVAILABLE, // the record of tokens can't be read whole, so none of them is accepted
  TOKEN_NOT_FOUND: status.NOT_FOUND,
  TOKEN_NAME_TAKEN: status.ALREADY_EXISTS,
  ROLE_TOO_LOW: status.PERMISSION_DENIED, // the method, or this use of it, needs a higher role
  PATH_NOT_ALLOWED: status.PERMISSION_DENIED, // the path is in no folder that callers with tokens may name
  LOGIN_ENDED: status.UNAUTHENTICATED, // the login is over: the person has to log in again
  LOGIN_CHANGED: status.UNAUTHENTICATED, // the person has a lower role now; open calls end, and the next one has the new role
  LOGIN_FAILED: status.UNAUTHENTICATED, // the provider's answer, or the way to the provider, is wrong
  LOGIN_REFUSED: status.PERMISSION_DENIED, // the provider knows the person, but this server does not admit the person
  LOGIN_UNAVAILABLE: status.UNAVAILABLE, // the provider can't be asked
  LOGIN_NOT_OFFERED: precondition, // the server has no provider, or the provider has no logins of this kind
  LOGIN_NOT_FOUND: status.NOT_FOUND,
  LOGIN_AMBIGUOUS: invalid, // several people have the name
  LOGIN_NEEDED: status.UNAUTHENTICATED, // the browser's cookie is not from this server, or too old
  HOST_FOREIGN: status.PERMISSION_DENIED, // the request reached this server under a name that is not the server's
  ORIGIN_FOREIGN: status.PERMISSION_DENIED, // a page of another origin made the call
  JOB_GAVE_WAY: status.ABORTED, // the job held an engine for long, and a run waited for that engine
  TOO_MANY_CALLS: status.RESOURCE_EXHAUSTED, // too many calls at once, of this client or of all
  CALLS_TOO_FAST: status.RESOURCE_EXHAUSTED, // one person makes more calls a second than the server allows
  ENGINE_HOURS_USED: status.RESOURCE_EXHAUSTED, // a caller has used its engine hours up, so that its runs wait
  RUNS_TOO_MANY: status.RESOURCE_EXHAUSTED, // a caller has as many runs that have not ended as the server allows
  // The rest.
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

/**
 * Returns the gRPC status of a code. A code that is not in the table, from a library or a later engine, gets INTERNAL and keeps its name.
 */
export function statusOf(code: string): status {
  return isErrorCode(code) ? errorStatuses[code] : status.INTERNAL;
}
