import { fact } from '../pruning-run/testing.js';
import { Tallies } from './tallies.js';

async function outcomes(tallies: Tallies): Promise<Record<string, number>> {
  const { values } = await tallies.runOutcomes.get();
  return Object.fromEntries(values.map(({ labels, value }) => [labels.outcome, value]));
}

it('counts the ends of runs and the pauses that no user asked for, each from 0', async () => {
  const tallies = new Tallies();
  expect(await outcomes(tallies)).toEqual({ completed: 0, failed: 0, cancelled: 0, paused_by_server: 0 });
  const failed = fact('RunFailed', { step: 4, code: 'TRAINING_DIVERGED', message: 'not finite', field: '' });
  tallies.countOutcomes([fact('RunPaused', { step: 1, by: 'request' }), fact('RunPaused', { step: 2, by: 'shutdown' })]);
  tallies.countOutcomes([fact('RunPaused', { step: 3, by: 'obstacle' }), failed]);
  expect(await outcomes(tallies)).toEqual({ completed: 0, failed: 1, cancelled: 0, paused_by_server: 1 });
});
