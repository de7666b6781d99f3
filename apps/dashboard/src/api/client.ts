// The public API, as any browser client calls it.
import { Code, ConnectError, createClient } from '@connectrpc/connect';
import { createConnectTransport } from '@connectrpc/connect-web';
import { ArtifactService } from '../generated/espalier/v1/artifact_service_pb.js';
import { EngineService } from '../generated/espalier/v1/engine_service_pb.js';
import { HistoryService } from '../generated/espalier/v1/history_service_pb.js';
import { StudyService } from '../generated/espalier/v1/study_service_pb.js';
import { RunService } from '../generated/espalier/v1/run_service_pb.js';
import { BadRequestSchema, ErrorInfoSchema } from '../generated/google/rpc/error_details_pb.js';

const transport = createConnectTransport({ baseUrl: location.origin, useBinaryFormat: true });
export const runService = createClient(RunService, transport);
export const historyService = createClient(HistoryService, transport);
export const artifactService = createClient(ArtifactService, transport);
export const engineService = createClient(EngineService, transport);
export const studyService = createClient(StudyService, transport);

/** By which a launch that is sent twice is made once; where the browser can't make one, the server does. */
export function newRequestId(): string {
  return 'randomUUID' in crypto ? crypto.randomUUID() : '';
}

/** A failure in words. */
export interface Trouble {
  /** Stable, upper snake case. */
  code: string;
  message: string;
  fields: { field: string; description: string }[];
  /** Nobody answers: it is tried again. */
  isAway: boolean;
  /** This browser is not let in. */
  isLocked: boolean;
}

export function troubleOf(error: unknown): Trouble {
  const known = ConnectError.from(error);
  const code = known.findDetails(ErrorInfoSchema)[0]?.reason ?? Code[known.code].toUpperCase();
  const isAway = error instanceof TypeError || (code === 'UNKNOWN' && known.cause instanceof TypeError) || code === 'SHUTTING_DOWN';
  return {
    code,
    message: isAway ? 'The server does not answer.' : known.rawMessage,
    fields: known
      .findDetails(BadRequestSchema)
      .flatMap(({ fieldViolations }) => fieldViolations.map(({ field, description }) => ({ field, description }))),
    isAway,
    isLocked: known.code === Code.Unauthenticated,
  };
}

export function isAbort(error: unknown): boolean {
  return ConnectError.from(error).code === Code.Canceled || (error instanceof DOMException && error.name === 'AbortError');
}
