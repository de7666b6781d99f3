// The public API, called as any browser client calls it.
import { Code, ConnectError, createClient, type Interceptor } from '@connectrpc/connect';
import { createConnectTransport } from '@connectrpc/connect-web';
import { AccessService } from '../generated/espalier/v1/access_service_pb.js';
import { ArtifactService } from '../generated/espalier/v1/artifact_service_pb.js';
import { EngineService } from '../generated/espalier/v1/engine_service_pb.js';
import { HistoryService } from '../generated/espalier/v1/history_service_pb.js';
import { StudyService } from '../generated/espalier/v1/study_service_pb.js';
import { PageService } from '../generated/espalier/v1/page_service_pb.js';
import { RunService } from '../generated/espalier/v1/run_service_pb.js';
import { BadRequestSchema, ErrorInfoSchema } from '../generated/google/rpc/error_details_pb.js';
import type { Trouble } from './view-state.js';

export type { Trouble } from './view-state.js';

let lockedOut: () => void = () => undefined;
/** Sets the function that is called when the server answers a call by asking for a login. */
export function onLockedOut(listener: () => void): void {
  lockedOut = listener;
}
const watchLogin: Interceptor = (next) => async (request) => {
  try {
    return await next(request);
  } catch (error) {
    if (ConnectError.from(error).code === Code.Unauthenticated) lockedOut();
    throw error;
  }
};

const transport = createConnectTransport({ baseUrl: location.origin, useBinaryFormat: true, interceptors: [watchLogin] });
export const runService = createClient(RunService, transport);
export const historyService = createClient(HistoryService, transport);
export const artifactService = createClient(ArtifactService, transport);
export const engineService = createClient(EngineService, transport);
export const studyService = createClient(StudyService, transport);
export const pageService = createClient(PageService, transport);
export const accessService = createClient(AccessService, transport);

/** Makes an id for a launch, so that a launch that is sent twice makes one run. If the browser can't make an id, the server does. */
export function newRequestId(): string {
  return 'randomUUID' in crypto ? crypto.randomUUID() : '';
}

export function troubleOf(error: unknown): Trouble {
  const known = ConnectError.from(error);
  const code = known.findDetails(ErrorInfoSchema)[0]?.reason ?? Code[known.code].toUpperCase();
  const isAway = error instanceof TypeError || (code === 'UNKNOWN' && known.cause instanceof TypeError) || code === 'SHUTTING_DOWN';
  return {
    code: isAway ? '' : code,
    message: isAway ? 'The server does not answer.' : known.rawMessage,
    fields: known
      .findDetails(BadRequestSchema)
      .flatMap(({ fieldViolations }) => fieldViolations.map(({ field, description }) => ({ field, description }))),
    isAway,
    isLocked: known.code === Code.Unauthenticated,
    isPassing: isAway || known.code === Code.Unavailable || code === 'TOO_MANY_CALLS',
  };
}

export function isAbort(error: unknown): boolean {
  return ConnectError.from(error).code === Code.Canceled || (error instanceof DOMException && error.name === 'AbortError');
}
