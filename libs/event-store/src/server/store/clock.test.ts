import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { newJsonEvent } from './event-log.js';
import { Store } from './store.js';

describe('a clock that jumps', () => {
  const folder = mkdtempSync(join(tmpdir(), 'event-store-clock-'));
  const realNow = Date.now;
  afterEach(() => (Date.now = realNow));
  afterAll(() => rmSync(folder, { recursive: true, force: true }));

  test('changes what is written as the time of an event, not the order, not what is found', async () => {
    const store = Store.open(folder);
    const hours = [0, 5, -3, 1000, -20_000, 0];
    for (const hour of hours) {
      Date.now = () => realNow() + hour * 3_600_000;
      await store.append('run', [newJsonEvent('Jumped', `{"hour":${hour}}`)], 'any');
    }
    Date.now = realNow;
    const head = store.log.heads.find('run')!;
    const { records } = store.reader.readStream(head, 0, 'forwards', 100);
    expect(records.map(({ data }) => JSON.parse(data.toString()).hour)).toEqual(hours);
    expect(records.map(({ revision }) => revision)).toEqual([0, 1, 2, 3, 4, 5]);
    const all = store.reader.readAll(0, 'forwards', undefined, 100, 100).records;
    expect(all.map(({ position }) => position)).toEqual(records.map(({ position }) => position));
    expect(records[3]!.createdUs).toBeGreaterThan(records[4]!.createdUs);
    await store.close();
  });

  test('$maxAge goes by the clock as it is now', async () => {
    const store = Store.open(folder);
    await store.append('$$aged', [newJsonEvent('$metadata', '{"$maxAge":3600}')], 'any');
    await store.append('aged', [newJsonEvent('Aged', '{}')], 'any');
    const count = () => store.reader.readStream(store.log.heads.find('aged')!, 0, 'forwards', 10).records.length;
    expect(count()).toBe(1);
    Date.now = () => realNow() + 2 * 3_600_000;
    expect(count()).toBe(0);
    Date.now = realNow;
    expect(count()).toBe(1);
    await store.close();
  });
});
