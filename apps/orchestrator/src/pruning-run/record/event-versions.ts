// The types of a run's events, and their versions.
import { eventFields, eventVersions } from '#audit';
import type { EventTypes } from '../../event-sourcing/event-types.js';

export const knownTypeNames = Object.keys(eventFields);
export const eventTypes: EventTypes = eventVersions;
