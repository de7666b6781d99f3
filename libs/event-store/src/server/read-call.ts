import { Metadata, type ServerWritableStream } from '@grpc/grpc-js';
import type { ServerContext } from './server-context.js';
import { deliver } from './backpressure.js';
import { toStatus } from './grpc-errors.js';
import { compileFilter, filterDefinitionOf, type EventFilter } from './store/event-filter.js';
import type { Direction } from './store/event-reader.js';
import type { EventRecord } from './store/event-record.js';
import { encodeReadEvent, encodeShared } from './event-encoding.js';
import { clampToSafe, streamIdentifier, streamNameOf } from './wire-values.js';
import type { Encodable } from './message-batch.js';
import { streamsPb } from './protocol-classes.js';
import { InvalidArgument, Unimplemented } from './store/refusals.js';
import { subscribeToAll, subscribeToStream } from './subscriptions.js';

export type ReadCall = ServerWritableStream<streamsPb.ReadReq, Encodable>;

/** A Read request in the terms of the store. */
export interface ReadRequest {
  /** The stream to read; undefined: all streams ($all). */
  stream: string | undefined;
  from: 'start' | 'end' | number;
  direction: Direction;
  limit: number;
  filter: EventFilter | undefined;
  /** The number of events that a filtered subscription looks at between two checkpoints. */
  checkpointInterval: number;
  encode: (record: EventRecord) => Buffer;
  compatibility: number;
}

const DEFAULT_SEARCH_WINDOW = 32;

/** Handles Streams/Read, which is the call of both reads and subscriptions. */
export async function handleRead(context: ServerContext, call: ReadCall): Promise<void> {
  // The headers are sent at once: a client that delays its acknowledgements would otherwise get a short answer some 40 ms later.
  call.sendMetadata(new Metadata());
  const leave = context.store.reader.enter();
  try {
    const options = call.request.getOptions();
    if (!options) throw new InvalidArgument('options: a read needs them');
    const request = parseRequest(options);
    const caller = context.access.callerOf(call.metadata);
    context.access.check(caller, request.stream ?? '$all');
    if (options.hasSubscription()) {
      await (request.stream === undefined ? subscribeToAll : subscribeToStream)(context, call, request);
    } else {
      await (request.stream === undefined ? readAll(context, call, request) : readStream(context, call, request, request.stream));
    }
    call.end();
  } catch (error) {
    call.emit('error', toStatus(error));
  } finally {
    leave();
  }
}

function parseRequest(options: streamsPb.ReadReq.Options): ReadRequest {
  const stream = options.getStream();
  const filter = options.getFilter();
  const structuredUuid = options.getUuidOption()?.hasStructured() ?? false;
  if (options.getResolveLinks()) throw new Unimplemented('the resolution of links');
  const window = filter?.hasMax() ? filter.getMax() : DEFAULT_SEARCH_WINDOW;
  return {
    stream: stream ? streamNameOf(stream.getStreamIdentifier()) : undefined,
    from: stream ? startOfStream(stream) : startOfAll(options.getAll()),
    direction: options.getReadDirection() === streamsPb.ReadReq.Options.ReadDirection.BACKWARDS ? 'backwards' : 'forwards',
    limit: options.hasCount() ? clampToSafe(options.getCount()) : Number.MAX_SAFE_INTEGER,
    filter: compileFilter(filterDefinitionOf(filter)),
    checkpointInterval: window * Math.max(1, filter?.getCheckpointintervalmultiplier() ?? 1),
    encode: (record) => (structuredUuid ? encodeReadEvent(record, true) : encodeShared(record)),
    compatibility: options.getControlOption()?.getCompatibility() ?? 0,
  };
}

function startOfStream(options: streamsPb.ReadReq.Options.StreamOptions): ReadRequest['from'] {
  if (options.hasRevision()) return clampToSafe(options.getRevision());
  return options.hasEnd() ? 'end' : 'start';
}

function startOfAll(options: streamsPb.ReadReq.Options.AllOptions | undefined): ReadRequest['from'] {
  const position = options?.getPosition();
  if (position) return clampToSafe(position.getCommitPosition());
  return options?.hasEnd() ? 'end' : 'start';
}

async function readStream(context: ServerContext, call: ReadCall, request: ReadRequest, stream: string): Promise<void> {
  const { log, reader } = context.store;
  const head = log.heads.find(stream);
  if (!head || head.lastRevision < 0) {
    call.write(streamNotFound(stream));
    return;
  }
  const { direction } = request;
  let next = request.from === 'start' ? 0 : request.from === 'end' ? head.lastRevision : request.from;
  if (direction === 'forwards' && request.from === 'end') next = head.lastRevision + 1;
  let left = request.limit;
  while (left > 0 && next >= 0) {
    const chunk = reader.readStream(head, next, direction, left);
    next = chunk.next;
    left -= chunk.records.length;
    if (!(await deliver(call, chunk.records.map(request.encode), chunk.damaged))) return;
  }
  if (request.compatibility >= 1) call.write(lastStreamPosition(head.lastRevision));
}

async function readAll(context: ServerContext, call: ReadCall, request: ReadRequest): Promise<void> {
  const { direction, filter } = request;
  const edge = direction === 'forwards' ? 0 : Number.MAX_SAFE_INTEGER;
  const empty = request.from === (direction === 'forwards' ? 'end' : 'start');
  let from = typeof request.from === 'number' ? request.from : edge;
  let left = empty ? 0 : request.limit;
  while (left > 0) {
    const chunk = context.store.reader.readAll(from, direction, filter, left, Number.MAX_SAFE_INTEGER);
    if (chunk.atEnd || chunk.scannedTo === undefined) return;
    from = direction === 'forwards' ? chunk.scannedTo + 1 : chunk.scannedTo;
    left -= chunk.records.length;
    if (!(await deliver(call, chunk.records.map(request.encode), chunk.damaged))) return;
  }
}

function streamNotFound(stream: string): streamsPb.ReadResp {
  const notFound = new streamsPb.ReadResp.StreamNotFound();
  notFound.setStreamIdentifier(streamIdentifier(stream));
  const response = new streamsPb.ReadResp();
  response.setStreamNotFound(notFound);
  return response;
}

function lastStreamPosition(revision: number): streamsPb.ReadResp {
  const response = new streamsPb.ReadResp();
  response.setLastStreamPosition(String(revision));
  return response;
}
