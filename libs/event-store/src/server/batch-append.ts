import type { ServerDuplexStream } from '@grpc/grpc-js';
import { status } from '@grpc/grpc-js';
import type { ServerContext } from './server-context.js';
import type { AppendResult } from './store/event-log.js';
import { type ProposedEvent } from './store/event-record.js';
import { reply, toStatus } from './grpc-errors.js';
import { checkSizes, MAX_APPEND_BYTES } from './limits.js';
import { expectedOf, proposedEventOf, sizeOf, streamIdentifier, streamNameOf } from './wire-values.js';
import { anyPb, emptyPb, sharedPb, statusPb, streamsPb } from './protocol-classes.js';
import {
  AccessDenied,
  DeadlineExceeded,
  EventTooLarge,
  InvalidArgument,
  MaximumAppendSizeExceeded,
  Unauthenticated,
  WrongExpectedVersion,
  type Expected,
} from './store/refusals.js';
import { checkNoAcl } from './store/stream-metadata.js';
import type { User } from './users.js';

type Call = ServerDuplexStream<streamsPb.BatchAppendReq, streamsPb.BatchAppendResp>;

/** An append whose events arrive in several messages. */
interface OpenAppend {
  correlationId: sharedPb.UUID;
  stream: string;
  expected: Expected;
  events: ProposedEvent[];
  sizeBytes: number;
  deadlineMs: number | undefined;
  /** The error of a message that can't be used. It is the answer once the append is complete. */
  refusal: Error | undefined;
}

/**
 * Handles Streams/BatchAppend: one long-lived call carries all appends of a client. Every append gets exactly one answer on this call, also
 * when it fails, because the client sets no deadline.
 */
export function handleBatchAppend(context: ServerContext, call: Call): void {
  const open = new Map<string, OpenAppend>();
  let unanswered = 0;
  let ended = false;
  let caller: User;
  try {
    caller = context.access.callerOf(call.metadata);
  } catch (error) {
    call.emit('error', toStatus(error));
    return;
  }
  const endWhenDone = () => {
    if (ended && unanswered === 0 && !call.destroyed) call.end();
  };
  const stop = () => call.emit('error', reply(status.UNAVAILABLE, 'STORE_STOPPING: the event store is stopping'));
  context.stopping.addEventListener('abort', stop);
  const forget = () => context.stopping.removeEventListener('abort', stop);
  call.on('close', forget).on('cancelled', forget);
  call.on('data', (request: streamsPb.BatchAppendReq) => {
    const append = collect(open, request);
    if (!append) return;
    unanswered += 1;
    void perform(context, caller, append).then((response) => {
      unanswered -= 1;
      if (!call.cancelled && !call.destroyed) call.write(response);
      endWhenDone();
    });
  });
  call.on('end', () => {
    ended = true;
    endWhenDone();
  });
}

/** @returns the append if `request` completes it */
function collect(open: Map<string, OpenAppend>, request: streamsPb.BatchAppendReq): OpenAppend | undefined {
  const correlationId = request.getCorrelationId() ?? new sharedPb.UUID();
  const key = Buffer.from(correlationId.serializeBinary()).toString('latin1');
  const append: OpenAppend = open.get(key) ?? {
    correlationId,
    stream: '',
    expected: 'any',
    events: [],
    sizeBytes: 0,
    deadlineMs: undefined,
    refusal: undefined,
  };
  open.set(key, append);
  try {
    const options = request.getOptions();
    if (options) {
      append.stream = streamNameOf(options.getStreamIdentifier());
      append.expected = expectedOf(options, options.hasStreamPosition() ? options.getStreamPosition() : undefined);
      append.deadlineMs = options.getDeadline21100()?.toDate().getTime();
    }
    for (const message of request.getProposedMessagesList()) add(append, proposedEventOf(message));
  } catch (error) {
    append.refusal ??= error as Error;
  }
  if (!request.getIsFinal()) return undefined;
  open.delete(key);
  return append;
}

/**
 * Adds an event to an append. An append that is too large is still received to its end, as the protocol demands, but is not kept in memory.
 */
function add(append: OpenAppend, event: ProposedEvent): void {
  if (append.refusal) return;
  append.sizeBytes += sizeOf(event);
  if (append.sizeBytes <= MAX_APPEND_BYTES) {
    append.events.push(event);
    return;
  }
  append.refusal = new MaximumAppendSizeExceeded(MAX_APPEND_BYTES);
  append.events = [];
}

async function perform(context: ServerContext, caller: User, append: OpenAppend): Promise<streamsPb.BatchAppendResp> {
  const response = new streamsPb.BatchAppendResp();
  response.setCorrelationId(append.correlationId);
  response.setStreamIdentifier(streamIdentifier(append.stream));
  echoExpected(response, append.expected);
  try {
    if (append.refusal) throw append.refusal;
    if (!append.stream) throw new InvalidArgument('options: the first message of an append needs them');
    if (append.deadlineMs !== undefined && append.deadlineMs < Date.now()) throw new DeadlineExceeded();
    context.access.check(caller, append.stream);
    checkNoAcl(append.stream, append.events);
    checkSizes(append.stream, append.events);
    response.setSuccess(successOf(await context.store.append(append.stream, append.events, append.expected)));
  } catch (error) {
    response.setError(errorOf(error));
  }
  return response;
}

function successOf(result: AppendResult): streamsPb.BatchAppendResp.Success {
  const success = new streamsPb.BatchAppendResp.Success();
  if (result.revision < 0) {
    success.setNoStream(new emptyPb.Empty());
    success.setNoPosition(new emptyPb.Empty());
    return success;
  }
  const position = new sharedPb.AllStreamPosition();
  position.setCommitPosition(String(result.position));
  position.setPreparePosition(String(result.position));
  success.setCurrentRevision(String(result.revision));
  success.setPosition(position);
  return success;
}

function echoExpected(response: streamsPb.BatchAppendResp, expected: Expected): void {
  if (expected === 'any') response.setAny(new emptyPb.Empty());
  else if (expected === 'no_stream') response.setNoStream(new emptyPb.Empty());
  else if (expected === 'stream_exists') response.setStreamExists(new emptyPb.Empty());
  else response.setStreamPosition(String(expected));
}

function errorOf(error: unknown): statusPb.Status {
  const { code, details } = toStatus(error);
  const result = new statusPb.Status();
  // google.rpc.Code has the same numbers as gRPC's status codes.
  // oxlint-disable-next-line typescript/no-unsafe-enum-assignment
  result.setCode(code as number);
  result.setMessage(details);
  const any = new anyPb.Any();
  any.pack(...detailsOf(error, details));
  result.setDetails(any);
  return result;
}

function detailsOf(error: unknown, text: string): [bytes: Uint8Array, type: string] {
  if (error instanceof WrongExpectedVersion) {
    return [wrongVersionDetails(error).serializeBinary(), 'event_store.client.WrongExpectedVersion'];
  }
  if (error instanceof AccessDenied || error instanceof Unauthenticated) {
    return [new sharedPb.AccessDenied().serializeBinary(), 'event_store.client.AccessDenied'];
  }
  if (error instanceof MaximumAppendSizeExceeded || error instanceof EventTooLarge) {
    const message = new sharedPb.MaximumAppendSizeExceeded();
    message.setMaxappendsize(error.maxBytes);
    return [message.serializeBinary(), 'event_store.client.MaximumAppendSizeExceeded'];
  }
  if (error instanceof DeadlineExceeded) return [new sharedPb.Timeout().serializeBinary(), 'event_store.client.Timeout'];
  // Not google's "Unknown": the client drops that message's text, and the text says what to do.
  const message = new sharedPb.BadRequest();
  message.setMessage(text);
  return [message.serializeBinary(), 'event_store.client.BadRequest'];
}

function wrongVersionDetails(error: WrongExpectedVersion): sharedPb.WrongExpectedVersion {
  const message = new sharedPb.WrongExpectedVersion();
  if (error.actual >= 0) message.setCurrentStreamRevision(String(error.actual));
  else message.setCurrentNoStream(new emptyPb.Empty());
  if (error.expected === 'any') message.setExpectedAny(new emptyPb.Empty());
  else if (error.expected === 'no_stream') message.setExpectedNoStream(new emptyPb.Empty());
  else if (error.expected === 'stream_exists') message.setExpectedStreamExists(new emptyPb.Empty());
  else message.setExpectedStreamPosition(String(error.expected));
  return message;
}
