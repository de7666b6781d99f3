// Says in a chart's files whose values they are.
import type { Run } from '../../generated/espalier/v1/run_service_pb.js';
import { nameOf } from '../../runs/columns.js';

/** The names and ids of the runs, and the program that recorded them. */
export const sourceOf = (runs: readonly Run[]): string =>
  `Espalier, ${runs.length === 1 ? 'run' : `${runs.length} runs:`} ${runs.map((run) => `${nameOf(run)} (${run.runId})`).join(', ')}`;
