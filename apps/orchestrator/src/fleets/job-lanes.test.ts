// Tests the names of engines, and the pauses of the jobs of one kind and account.
import { JobLane, kindOfEngine, laneKey, laneParts, newEngineName } from './job-lanes.js';

it.each(['', 'gpu', 'gpu-2', 'deadbeef'])("the name of an engine carries its job's kind: '%s'", (kind) => {
  const name = newEngineName('lab', kind);
  expect(kindOfEngine('lab', name)).toBe(kind);
  expect(newEngineName('lab', kind)).not.toBe(name);
  expect(kindOfEngine('other', name)).toBeNull();
});

it.each(['lab', 'lab-gpu', 'my-engine'])('%s is not the name of an engine of a fleet', (name) => {
  expect(kindOfEngine('lab', name)).toBeNull();
});

it('a lane is a kind and an account', () => {
  expect(laneParts(laneKey('gpu', 'ann.lab'))).toEqual({ kind: 'gpu', account: 'ann.lab' });
  expect(laneParts(laneKey('', ''))).toEqual({ kind: '', account: '' });
});

it('a refusal names the kind and the account, and pauses that lane', () => {
  const lane = new JobLane(laneKey('gpu', 'ann'));
  expect(lane.notBefore).toBeNull();
  expect(lane.fails({ code: 'FLEET_JOB_REFUSED', message: 'no' })).toMatchObject({ message: 'jobs: gpu, account ann: no' });
  expect(lane).toMatchObject({ failures: 1, notBefore: expect.any(Date) as Date });
  expect(new JobLane(laneKey('', '')).fails({ code: 'FLEET_JOB_REFUSED', message: 'no' }).message).toBe('no');
});
