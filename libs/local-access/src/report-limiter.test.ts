import { ReportLimiter } from '#local-access';

test('what happens again and again is said once a second, with its number', () => {
  jest.useFakeTimers();
  const said: [string, number][] = [];
  const log = new ReportLimiter<string>((last, times) => said.push([last, times]));
  for (let i = 0; i < 5_000; i += 1) log.add('refused', `call ${i}`);
  log.add('other', 'once');
  expect(said).toEqual([
    ['call 0', 1],
    ['once', 1],
  ]);
  jest.advanceTimersByTime(1_000);
  expect(said.slice(2)).toEqual([['call 4999', 4_999]]);
  log.add('refused', 'call 5000');
  jest.advanceTimersByTime(10_000);
  expect(said.slice(3)).toEqual([['call 5000', 1]]);
  log.add('refused', 'much later');
  expect(said.at(-1)).toEqual(['much later', 1]);
  jest.useRealTimers();
});
