// The events and metrics of runs that this process appended itself.
import { Remembered } from '../../event-sourcing/remembered.js';
import type { PruningRunEvent } from './pruning-run.events.js';
import type { StepsMeasured } from './steps-measured.js';

/** Read by the feed and the views, and small. */
export const ownEvents = new Remembered<PruningRunEvent>(256);
/** A batch may hold thousands of steps. */
export const ownMeasurements = new Remembered<StepsMeasured>(8);
