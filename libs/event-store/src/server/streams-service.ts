import { status, type ServerReadableStream, type sendUnaryData } from '@grpc/grpc-js';
import { handleBatchAppend } from './batch-append.js';
import type { ServerContext } from './server-context.js';
import type { AppendResult } from './store/event-log.js';
import type { ProposedEvent } from './store/event-record.js';
import { reply, toStatus } from './grpc-errors.js';
import { checkSizes, MAX_APPEND_BYTES } from './limits.js';
import { expectedOf, proposedEventOf, sizeOf, streamNameOf } from './wire-values.js';
import { sharedPb, streamsGrpc, streamsPb } from './protocol-classes.js';
import { serializeResponse } from './message-batch.js';
import { handleRead, type ReadCall } from './read-call.js';
import { InvalidArgument, MaximumAppendSizeExceeded, Unimplemented, WrongExpectedVersion } from './store/refusals.js';
import { checkNoAcl } from './store/stream-metadata.js';
import type { User } from './users.js';

const { StreamsService } = streamsGrpc;

/** The service, with a Read that takes encoded messages, one or many at once, as its answers. */
export const streamsDefinition = {
  ...StreamsService,
  read: {
    ...StreamsService.read,
    responseSerialize: serializeResponse,
  },
};

export function streamsHandlers(context: ServerContext) {
  return {
    read: (call: ReadCall) => void handleRead(context, call),
    append: (call: AppendCall, callback: sendUnaryData<streamsPb.AppendResp>) => handleAppend(context, call, callback),
    batchAppend: handleBatchAppend.bind(undefined, context),
    delete: refuse('Streams/Delete'),
    tombstone: refuse('Streams/Tombstone'),
  };
}

type AppendCall = ServerReadableStream<streamsPb.AppendReq, streamsPb.AppendResp>;

function handleAppend(context: ServerContext, call: AppendCall, callback: sendUnaryData<streamsPb.AppendResp>): void {
  let options: streamsPb.AppendReq.Options | undefined;
  let events: ProposedEvent[] = [];
  let sizeBytes = 0;
  let refusal: Error | undefined;
  const stop = () => call.emit('error', reply(status.UNAVAILABLE, 'STORE_STOPPING: the event store is stopping'));
  const forget = () => context.stopping.removeEventListener('abort', stop);
  context.stopping.addEventListener('abort', stop);
  call.on('close', forget).on('cancelled', forget);
  call.on('data', (request: streamsPb.AppendReq) => {
    try {
      options ??= request.getOptions();
      const message = request.getProposedMessage();
      if (!message || refusal) return;
      events.push(proposedEventOf(message));
      sizeBytes += sizeOf(events.at(-1)!);
      if (sizeBytes > MAX_APPEND_BYTES) throw new MaximumAppendSizeExceeded(MAX_APPEND_BYTES);
    } catch (error) {
      refusal ??= error as Error;
      events = [];
    }
  });
  call.on('end', () => {
    forget();
    append(context, () => context.access.callerOf(call.metadata), options, events, refusal).then(
      (response) => callback(null, response),
      (error: unknown) => callback(toStatus(error)),
    );
  });
}

async function append(
  context: ServerContext,
  caller: () => User,
  options: streamsPb.AppendReq.Options | undefined,
  events: ProposedEvent[],
  refusal: Error | undefined,
): Promise<streamsPb.AppendResp> {
  if (refusal) throw refusal;
  if (!options) throw new InvalidArgument('options: the first message of an append needs them');
  const stream = streamNameOf(options.getStreamIdentifier());
  const expected = expectedOf(options, options.hasRevision() ? options.getRevision() : undefined);
  context.access.check(caller(), stream);
  checkNoAcl(stream, events);
  checkSizes(stream, events);
  const response = new streamsPb.AppendResp();
  try {
    response.setSuccess(successOf(await context.store.append(stream, events, expected)));
  } catch (error) {
    if (!(error instanceof WrongExpectedVersion)) throw error;
    response.setWrongExpectedVersion(wrongVersionOf(error));
  }
  return response;
}

function successOf(result: AppendResult): streamsPb.AppendResp.Success {
  const success = new streamsPb.AppendResp.Success();
  if (result.revision < 0) {
    success.setNoStream(new sharedPb.Empty());
    success.setNoPosition(new sharedPb.Empty());
    return success;
  }
  const position = new streamsPb.AppendResp.Position();
  position.setCommitPosition(String(result.position));
  position.setPreparePosition(String(result.position));
  success.setCurrentRevision(String(result.revision));
  success.setPosition(position);
  return success;
}

function wrongVersionOf(error: WrongExpectedVersion): streamsPb.AppendResp.WrongExpectedVersion {
  const message = new streamsPb.AppendResp.WrongExpectedVersion();
  if (error.actual >= 0) message.setCurrentRevision(String(error.actual));
  else message.setCurrentNoStream(new sharedPb.Empty());
  if (error.expected === 'any') message.setExpectedAny(new sharedPb.Empty());
  else if (error.expected === 'no_stream') message.setExpectedNoStream(new sharedPb.Empty());
  else if (error.expected === 'stream_exists') message.setExpectedStreamExists(new sharedPb.Empty());
  else message.setExpectedRevision(String(error.expected));
  return message;
}

function refuse(method: string) {
  return (_call: unknown, callback: sendUnaryData<never>) => callback(toStatus(new Unimplemented(method)));
}
