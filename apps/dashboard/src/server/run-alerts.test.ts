import { timestampFromDate } from '@bufbuild/protobuf/wkt';
import { RunStatus } from '../generated/espalier/v1/common_pb.js';
import { runAlerts, type EndedRun } from './run-alerts.js';

const NOW = 1_700_000_000_000;
const run = (runId: string, part: Partial<EndedRun> = {}): EndedRun => ({
  runId,
  name: '',
  status: RunStatus.COMPLETED,
  endedAt: timestampFromDate(new Date(NOW - 1_000)),
  hardSparsity: 0.379,
  targetSparsity: 0.7,
  ...part,
});
const words = (failed: EndedRun[], missed: EndedRun[], seen: string[] = []): string[] =>
  runAlerts(failed, missed, seen, NOW).map((one) => `${one.words.replaceAll('\u2009', ' ')} ${one.to}`);

test('a run that failed or missed its target is an alert for a day, until it was seen', () => {
  const failed = run('k3f9', { name: 'first', failure: 'there is no memory.' });
  expect(words([failed], [run('abcd')])).toEqual([
    'Run first failed: there is no memory /runs/k3f9',
    'Run abcd missed its target: 37.9 % of 70 % /runs/abcd',
  ]);
  expect(words([failed], [run('abcd')], ['k3f9', 'abcd'])).toEqual([]);
  expect(
    words([], [run('old', { endedAt: timestampFromDate(new Date(NOW - 86_400_001)) }), run('running', { endedAt: undefined })]),
  ).toEqual([]);
});

test('many runs are one alert, which is seen as a whole', () => {
  const [alert] = runAlerts([], [run('a'), run('b'), run('c')], ['b'], NOW);
  expect(alert).toEqual({ words: '2 runs of the last day missed their targets', to: '/?status=completed', runs: ['a', 'c'] });
});
