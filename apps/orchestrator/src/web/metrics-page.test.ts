import { Tallies } from '../monitoring/tallies.js';
import { MetricsPage } from './metrics-page.js';

/** A page over views that can't be read, with an engine that answers. */
function page(): { page: MetricsPage; asked: () => number } {
  let asked = 0;
  const describe = async () => ({ residentBytes: BigInt(100 + (asked += 1)), memoryAvailableBytes: 7n });
  const slot = { name: 'engine-1', status: 'idle', supervisor: { live: { client: { describe } } } };
  const parts = [
    new Tallies(),
    { countByStatus: () => Promise.reject(new Error('the views are being built')) },
    {
      unrecordedSteps: 3,
      get waitsSinceMs(): number[] {
        throw new Error('not now');
      },
    },
    { slots: [slot] },
    { waiting: [] },
    { view: { jobs: [{ stage: 'waiting' }, { stage: 'waiting' }, { stage: 'ending' }], problem: new Error('no sbatch') } },
    { held: true },
    { missing: null },
    { canRecord: true },
    { waiting: () => [] },
    { open: 0 },
    null,
    { reach: { problem: new Error('no such bucket') } },
    { dataFolder: '/no/such/folder', artifactFolder: '/' },
  ] as unknown as ConstructorParameters<typeof MetricsPage>;
  return { page: new MetricsPage(...parts), asked: () => asked };
}

const valueOf = (text: string, name: string): string[] => text.split('\n').filter((line) => line.startsWith(name));

test('a figure that can not be read has no value, and the others have theirs', async () => {
  const text = await page().page.text();
  expect(valueOf(text, 'espalier_runs{')).toEqual([]);
  expect(valueOf(text, 'espalier_recording_blocked_seconds')).toEqual([]);
  expect(valueOf(text, 'espalier_disk_free_bytes')).toEqual([expect.stringMatching(/^espalier_disk_free_bytes\{folder="artifacts"\} \d+/)]);
  expect(valueOf(text, 'espalier_artifacts_reachable')).toEqual(['espalier_artifacts_reachable 0']);
  expect(valueOf(text, 'espalier_fleet_reachable')).toEqual(['espalier_fleet_reachable 0']);
  expect(valueOf(text, 'espalier_fleet_jobs{')).toEqual([
    'espalier_fleet_jobs{stage="waiting"} 2',
    'espalier_fleet_jobs{stage="running"} 0',
    'espalier_fleet_jobs{stage="ending"} 1',
  ]);
  expect(valueOf(text, 'espalier_unrecorded_steps')).toEqual(['espalier_unrecorded_steps 3']);
});

test('a page asks each engine once, and the next page asks again', async () => {
  const { page: metrics, asked } = page();
  const resident = async (): Promise<string[]> => valueOf(await metrics.text(), 'espalier_engine_resident_memory_bytes');
  expect(await resident()).toEqual(['espalier_engine_resident_memory_bytes{engine="engine-1"} 101']);
  expect(await resident()).toEqual(['espalier_engine_resident_memory_bytes{engine="engine-1"} 102']);
  expect(asked()).toBe(2);
});
