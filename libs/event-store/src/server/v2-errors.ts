import { status } from '@grpc/grpc-js';
import { expectedToNumber, reply, toStatus, type StatusReply } from './grpc-errors.js';
import { anyPb, errors2Pb, statusPb } from './pb.js';
import {
  ConsistencyViolated,
  EventTooLarge,
  StreamDeleted,
  StreamTwiceInSession,
  TransactionTooLarge,
  WrongExpectedVersion,
} from './refusals.js';

/** Errors of the second protocol carry their details as a packed message in a binary trailer. */
export function toV2Status(error: unknown): StatusReply {
  const detailed = detailsOf(error);
  if (!detailed) return toStatus(error);
  const [code, type, message] = detailed;
  const text = (error as Error).message;
  const any = new anyPb.Any();
  any.pack(message.serializeBinary(), `kurrentdb.protocol.v2.streams.errors.${type}`);
  const rpcStatus = new statusPb.Status();
  // google.rpc.Code has the numbers of gRPC's own status codes.
  // eslint-disable-next-line @typescript-eslint/no-unsafe-enum-assignment
  rpcStatus.setCode(code as number);
  rpcStatus.setMessage(text);
  rpcStatus.setDetails(any);
  const result = reply(code, text);
  result.metadata.set('grpc-status-details-bin', Buffer.from(rpcStatus.serializeBinary()));
  return result;
}

type Detailed = [code: status, type: string, message: { serializeBinary(): Uint8Array }];

function detailsOf(error: unknown): Detailed | undefined {
  if (error instanceof WrongExpectedVersion) {
    const message = new errors2Pb.StreamRevisionConflictErrorDetails();
    message.setStream(error.stream);
    message.setExpectedRevision(String(expectedToNumber(error.expected)));
    message.setActualRevision(String(error.actual));
    return [status.FAILED_PRECONDITION, 'StreamRevisionConflictErrorDetails', message];
  }
  if (error instanceof StreamDeleted) {
    const message = new errors2Pb.StreamTombstonedErrorDetails();
    message.setStream(error.stream);
    return [status.FAILED_PRECONDITION, 'StreamTombstonedErrorDetails', message];
  }
  if (error instanceof EventTooLarge) {
    const message = new errors2Pb.AppendRecordSizeExceededErrorDetails();
    message.setStream(error.stream);
    message.setRecordId(error.eventId);
    message.setSize(error.sizeBytes);
    message.setMaxSize(error.maxBytes);
    return [status.INVALID_ARGUMENT, 'AppendRecordSizeExceededErrorDetails', message];
  }
  if (error instanceof TransactionTooLarge) {
    const message = new errors2Pb.AppendTransactionSizeExceededErrorDetails();
    message.setSize(error.sizeBytes);
    message.setMaxSize(error.maxBytes);
    return [status.ABORTED, 'AppendTransactionSizeExceededErrorDetails', message];
  }
  if (error instanceof StreamTwiceInSession) {
    const message = new errors2Pb.StreamAlreadyInAppendSessionErrorDetails();
    message.setStream(error.stream);
    return [status.ABORTED, 'StreamAlreadyInAppendSessionErrorDetails', message];
  }
  if (error instanceof ConsistencyViolated) return violationDetails(error);
  return undefined;
}

function violationDetails(error: ConsistencyViolated): Detailed {
  const message = new errors2Pb.AppendConsistencyViolationErrorDetails();
  for (const { checkIndex, stream, expected, actual } of error.violations) {
    const state = new errors2Pb.ConsistencyViolation.StreamStateViolation();
    state.setStream(stream);
    state.setExpectedState(String(expectedToNumber(expected)));
    state.setActualState(String(actual));
    const violation = new errors2Pb.ConsistencyViolation();
    violation.setCheckIndex(checkIndex);
    violation.setStreamState(state);
    message.addViolations(violation);
  }
  return [status.FAILED_PRECONDITION, 'AppendConsistencyViolationErrorDetails', message];
}
