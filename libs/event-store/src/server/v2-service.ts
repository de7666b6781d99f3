import type { sendUnaryData, ServerReadableStream, ServerUnaryCall } from '@grpc/grpc-js';
import type { ServerContext } from './context.js';
import type { EventLog } from './event-log.js';
import { bytesToUuid, uuidToBytes, type ProposedEvent } from './event-record.js';
import { bufferOf, sizeOf } from './messages.js';
import { streams2Pb } from './pb.js';
import {
  ConsistencyViolated,
  EventTooLarge,
  InvalidArgument,
  StreamTwiceInSession,
  TransactionTooLarge,
  type Expected,
} from './refusals.js';
import { randomUUID } from 'node:crypto';
import { toV2Status } from './v2-errors.js';

type SessionCall = ServerReadableStream<streams2Pb.AppendRequest, streams2Pb.AppendSessionResponse>;
type RecordsCall = ServerUnaryCall<streams2Pb.AppendRecordsRequest, streams2Pb.AppendRecordsResponse>;

interface StreamAppend {
  stream: string;
  events: ProposedEvent[];
  expected: Expected;
}

/** The second version of the protocol: appends to several streams that happen together or not at all. */
export function streams2Handlers(context: ServerContext) {
  return {
    appendSession: (call: SessionCall, callback: sendUnaryData<streams2Pb.AppendSessionResponse>) => {
      const requests: streams2Pb.AppendRequest[] = [];
      call.on('data', (request: streams2Pb.AppendRequest) => requests.push(request));
      call.on('end', () => answer(appendSession(context, call, requests), callback));
    },
    appendRecords: (call: RecordsCall, callback: sendUnaryData<streams2Pb.AppendRecordsResponse>) =>
      answer(appendRecords(context, call), callback),
  };
}

function answer<T>(work: Promise<T>, callback: sendUnaryData<T>): void {
  work.then(
    (response) => callback(null, response),
    (error: unknown) => callback(toV2Status(error)),
  );
}

async function appendSession(
  context: ServerContext,
  call: SessionCall,
  requests: streams2Pb.AppendRequest[],
): Promise<streams2Pb.AppendSessionResponse> {
  const caller = context.access.callerOf(call.metadata);
  const appends = requests.map((request) => ({
    stream: request.getStream(),
    events: request.getRecordsList().map(eventOf),
    expected: expectedOf(request.getExpectedRevision()),
  }));
  if (appends.length === 0) throw new InvalidArgument('an append session needs at least one request');
  checkNames(appends);
  for (const { stream } of appends) context.access.check(caller, stream, 'write');
  checkTotalSize(context, appends);
  const results = await context.store.transact((log) => appendTogether(log, appends));
  const response = new streams2Pb.AppendSessionResponse();
  response.setPosition(String(results.reduce((last, { position }) => Math.max(last, position), 0)));
  for (const { stream, revision, position } of results) {
    const output = new streams2Pb.AppendResponse();
    output.setStream(stream);
    output.setStreamRevision(String(revision));
    output.setPosition(String(position));
    response.addOutput(output);
  }
  return response;
}

/** All is decided before anything is written. */
function appendTogether(log: EventLog, appends: StreamAppend[]) {
  const decisions = appends.map(({ stream, events, expected }) => log.rules.decide(stream, events, expected));
  return appends.map(({ stream, events }, index) => {
    const decision = decisions[index]!;
    return { stream, ...(decision.kind === 'repeat' ? decision : log.write(stream, events)) };
  });
}

async function appendRecords(context: ServerContext, call: RecordsCall): Promise<streams2Pb.AppendRecordsResponse> {
  const caller = context.access.callerOf(call.metadata);
  const records = call.request.getRecordsList().map((record) => ({ stream: record.getStream(), event: eventOf(record) }));
  if (records.length === 0) throw new InvalidArgument('records: at least one is needed');
  const appends = byStream(records);
  for (const { stream } of appends) {
    if (!stream) throw new InvalidArgument('records.stream: a record needs a stream');
    context.access.check(caller, stream, 'write');
  }
  checkTotalSize(context, appends);
  const checks = call.request.getChecksList();
  for (const check of checks) context.access.check(caller, check.getStreamState()?.getStream() ?? '', 'read');
  const { revisions, position } = await context.store.transact((log) => writeRecords(log, records, appends, checks));
  const response = new streams2Pb.AppendRecordsResponse();
  response.setPosition(String(position));
  for (const [stream, revision] of revisions) {
    const message = new streams2Pb.StreamRevision();
    message.setStream(stream);
    message.setRevision(String(revision));
    response.addRevisions(message);
  }
  return response;
}

/** Keeps the order of the request in the log; a stream that holds its records already is a retry and is left alone. */
function writeRecords(
  log: EventLog,
  records: { stream: string; event: ProposedEvent }[],
  appends: StreamAppend[],
  checks: streams2Pb.ConsistencyCheck[],
): { revisions: Map<string, number>; position: number } {
  const decisions = new Map(appends.map(({ stream, events }) => [stream, log.rules.decide(stream, events, 'any')]));
  const isRetry = [...decisions.values()].every(({ kind }) => kind === 'repeat');
  if (!isRetry) runChecks(log, checks);
  const revisions = new Map<string, number>();
  let position = 0;
  for (const { stream, event } of records) {
    const decision = decisions.get(stream)!;
    const result = decision.kind === 'repeat' ? decision : log.write(stream, [event]);
    revisions.set(stream, result.revision);
    position = Math.max(position, result.position);
  }
  return { revisions, position };
}

function runChecks(log: EventLog, checks: streams2Pb.ConsistencyCheck[]): void {
  const violations = checks.flatMap((check, checkIndex) => {
    const state = check.getStreamState();
    if (!state) throw new InvalidArgument("checks: only checks of a stream's state are known");
    const stream = state.getStream() ?? '';
    const expected = expectedOf(state.getExpectedState());
    if (log.rules.matches(stream, expected)) return [];
    return [{ checkIndex, stream, expected, actual: log.heads.find(stream)?.lastRevision ?? -1 }];
  });
  if (violations.length > 0) throw new ConsistencyViolated(violations);
}

function byStream(records: { stream: string; event: ProposedEvent }[]): StreamAppend[] {
  const appends = new Map<string, StreamAppend>();
  for (const { stream, event } of records) {
    const append = appends.get(stream) ?? { stream, events: [], expected: 'any' as const };
    append.events.push(event);
    appends.set(stream, append);
  }
  return [...appends.values()];
}

function checkNames(appends: StreamAppend[]): void {
  const seen = new Set<string>();
  for (const { stream } of appends) {
    if (!stream) throw new InvalidArgument('stream: an append needs a stream');
    if (seen.has(stream)) throw new StreamTwiceInSession(stream);
    seen.add(stream);
  }
}

function checkTotalSize({ limits }: ServerContext, appends: StreamAppend[]): void {
  let total = 0;
  for (const { stream, events } of appends) {
    for (const event of events) {
      const size = sizeOf(event);
      if (size > limits.maxEventBytes) {
        throw new EventTooLarge(stream, bytesToUuid(event.eventId), size, limits.maxEventBytes);
      }
      total += size;
    }
  }
  if (total > limits.maxAppendBytes) throw new TransactionTooLarge(total, limits.maxAppendBytes);
}

const FORMAT_NAMES: Record<number, string> = { 1: 'Json', 2: 'Protobuf', 3: 'Avro', 4: 'Bytes' };

function eventOf(record: streams2Pb.AppendRecord): ProposedEvent {
  const schema = record.getSchema();
  const type = schema?.getName();
  if (!type) throw new InvalidArgument('record.schema.name: a record needs the name of its schema');
  const eventId = uuidToBytes(record.getRecordId() || randomUUID());
  if (!eventId) throw new InvalidArgument(`record_id: "${record.getRecordId()}" is not a UUID`);
  const format = FORMAT_NAMES[schema!.getFormat()] ?? 'Bytes';
  const properties: Record<string, unknown> = { '$schema.format': format, '$schema.name': type };
  record.getPropertiesMap().forEach((value, key) => (properties[key] = value.toJavaScript()));
  return {
    eventId,
    type,
    isJson: format === 'Json',
    data: bufferOf(record.getData_asU8()),
    metadata: Buffer.from(JSON.stringify(properties)),
  };
}

function expectedOf(text = '-2'): Expected {
  const value = Number(text);
  if (value >= 0) return value;
  if (value === -1) return 'no_stream';
  if (value === -2) return 'any';
  if (value === -4) return 'stream_exists';
  throw new InvalidArgument(`expected revision ${text}: allowed are revisions, -1 (no stream), -2 (any), -4 (exists)`);
}
