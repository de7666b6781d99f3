import type { FailureListener } from './calls/stream-handlers.js';
import type { Logger } from 'pino';
import type { HeldStates } from './states/held-states.js';
import type { OfferedModels } from './models/offered-models.js';
import type { ScratchFolder } from './scratch-folder.js';
import type { SessionHolder } from './session-holder.js';
import type { EngineLease } from './engine-lease.js';

/** The parts of the process that the service is made of. */
export interface EngineServiceParts {
  holder: SessionHolder;
  lease: EngineLease;
  models: OfferedModels;
  held: HeldStates;
  /** For the slices of states, and for states that arrive. */
  scratch: Pick<ScratchFolder, 'newPath'>;
  sliceBytes: number;
  version: string;
  device: string; // "auto", or the name of one
  threads: number; // 0: all
  onFailure: FailureListener;
  log: Pick<Logger, 'info' | 'warn'>;
}
