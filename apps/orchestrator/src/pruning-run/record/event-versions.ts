// The types of a run's events, and their version.
import { eventFields, NEWEST_VERSION } from '#audit';
import { eventTypesOf } from '../../event-sourcing/event-types.js';

export const CURRENT_VERSION = NEWEST_VERSION;
export const knownTypeNames = Object.keys(eventFields);
export const eventTypes = eventTypesOf(eventFields, CURRENT_VERSION);
