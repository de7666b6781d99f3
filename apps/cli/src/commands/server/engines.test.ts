// Tests how a fleet is described: how many jobs it has, and what keeps a run waiting.
import { v1 } from '#protocol';
import { fleetLine, fleetProblems } from './engines.js';

const job = (state: string, reason = ''): v1.FleetJob => ({
  id: '7',
  engine: 'slurm-1',
  state,
  reason,
  node: '',
  joined: false,
  lastLine: '',
  account: '',
});
const fleet = (more: Partial<v1.Fleet>): v1.Fleet => v1.Fleet.fromPartial({ name: 'slurm', kind: 'slurm', maxEngines: 4, ...more });

it.each<[v1.FleetJob[], string]>([
  [[], '0 jobs of at most 4 run'],
  [[job('RUNNING')], '1 job of at most 4 runs'],
  [[job('RUNNING'), job('PENDING', 'Resources')], '1 job of at most 4 runs, 1 waits (Resources)'],
  [
    [job('PENDING', 'Resources'), job('PENDING', 'Priority'), job('CONFIGURING'), job('PENDING', 'Priority')],
    '0 jobs of at most 4 run, 4 wait (Resources, Priority)',
  ],
])('%j are %s', (jobs, line) => {
  expect(fleetLine(fleet({ jobs }))).toBe(line);
});

it('a fleet that is drained has no number of jobs to reach', () => {
  const limit = { inPlaceOf: 4, drained: true, by: 'ann', at: new Date() };
  expect(fleetLine(fleet({ jobs: [job('RUNNING')], maxEngines: 0, limit }))).toBe('1 job runs');
});

it('a problem is said with its code; otherwise what the runs wait for', () => {
  const problem = { code: 'FLEET_JOB_REFUSED', message: 'sbatch: Invalid account', field: '' };
  expect(fleetProblems(fleet({ problem, waitsFor: 'sbatch: Invalid account' }))).toEqual([
    'last problem: sbatch: Invalid account (FLEET_JOB_REFUSED)',
  ]);
  expect(fleetProblems(fleet({ problem, notBefore: new Date() }))[0]).toMatch(/the next job is asked for 20\d\d-/);
  expect(fleetProblems(fleet({ waitsFor: 'job 7 waits (Resources)' }))).toEqual(['runs wait: job 7 waits (Resources)']);
  expect(fleetProblems(fleet({}))).toEqual([]);
});
