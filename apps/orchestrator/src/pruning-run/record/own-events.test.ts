import { randomUUID } from 'node:crypto';
import { ownEvents } from './own-events.js';
import { CHAIN_START, encodeFacts } from './stored-event.js';
import { launched } from '../testing.js';

const {
  stored: [sent],
  events: [event],
} = encodeFacts([launched()], CHAIN_START, () => randomUUID());

test('an event is known again by its id, type and bytes, all of them', () => {
  expect(ownEvents.find(sent!)).toBeNull();
  ownEvents.remember(sent!, event!);
  expect(ownEvents.find({ ...sent!, data: new Uint8Array(sent!.data) })).toBe(event);
  expect(ownEvents.find({ ...sent!, id: randomUUID() })).toBeNull();
  expect(ownEvents.find({ ...sent!, type: 'RunFailed' })).toBeNull();
  const changed = Uint8Array.from(sent!.data);
  changed[changed.length - 2]! ^= 1;
  expect(ownEvents.find({ ...sent!, data: changed })).toBeNull();
});

test('memory stays bounded: the oldest go', () => {
  const others = Array.from({ length: 300 }, () => ({ ...sent!, id: randomUUID() }));
  for (const one of others) ownEvents.remember(one, event!);
  expect(ownEvents.find(others[0]!)).toBeNull();
  expect(ownEvents.find(others.at(-1)!)).toBe(event);
});
