import type { Run } from '../generated/espalier/v1/run_service_pb.js';

export interface TabProps {
  run: Run;
  query: URLSearchParams;
  /** Opens the form for a fork at a teacher, or at the last state (null). */
  fork: (stateDigest: string | null) => void;
}
