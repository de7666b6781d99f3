// Remembers the latest events and metrics of runs that this process appended itself, so that it need not read them from the store.
import { Remembered } from '../../event-sourcing/remembered-events.js';
import type { PruningRunEvent } from './pruning-run.events.js';
import type { StepsMeasured } from './steps-measured.js';

/** The events are small, and both the feed and the views read them. */
export const ownEvents = new Remembered<PruningRunEvent>(256);
/** Fewer are remembered, since a batch of metrics may hold thousands of steps. */
export const ownMeasurements = new Remembered<StepsMeasured>(8);
