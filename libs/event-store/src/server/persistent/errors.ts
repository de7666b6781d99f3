import { status } from '@grpc/grpc-js';
import { reply, type StatusReply } from '../grpc-errors.js';

function names(source: string, group: string): Record<string, string> {
  return { 'stream-name': source, 'group-name': group };
}

export function doesNotExist(source: string, group: string): StatusReply {
  return reply(
    status.NOT_FOUND,
    `Subscription group ${group} on stream ${source} does not exist.`,
    'persistent-subscription-does-not-exist',
    names(source, group),
  );
}

export function alreadyExists(source: string, group: string): StatusReply {
  return reply(
    status.ALREADY_EXISTS,
    `Subscription group ${group} on stream ${source} exists.`,
    'persistent-subscription-exists',
    names(source, group),
  );
}

export function maximumReached(source: string, group: string): StatusReply {
  return reply(
    status.FAILED_PRECONDITION,
    `Maximum subscriptions reached for subscription group ${group} on stream ${source}.`,
    'maximum-subscribers-reached',
    names(source, group),
  );
}

export function dropped(source: string, group: string): StatusReply {
  return reply(
    status.CANCELLED,
    `Subscription group ${group} on stream ${source} was dropped.`,
    'persistent-subscription-dropped',
    names(source, group),
  );
}
