// Tests the line of a watched run: its loss and its teacher, also in a narrow terminal.
import { v1 } from '#protocol';
import { testRun, TestServer, testSteps } from '../testing/test-server.js';
import { runCli } from '../testing/run-cli.js';
import { runLine } from './run-line.js';

const terminal = { isLive: false, columns: 200, colour: false, unicode: true };
const step = (number: number, mark: number): v1.StepMetrics => ({
  ...testSteps(number, number + 1)[0]!,
  teacher: { teacher: { $case: 'mark', value: mark } },
});

test('losses have their units', () => {
  expect(runLine({ run: testRun(), latest: step(41, 31) }, terminal)).toContain('loss 1.250  (layer 1.100, kl 0.150 nats)');
});

test('no time is left to tell while a run waits', () => {
  const latest = step(41, 31);
  const waitingFor = v1.Wait.fromPartial({ code: 'STORAGE_FULL', message: 'no room is left' });
  expect(runLine({ run: testRun(), latest }, terminal)).toContain('ETA ');
  expect(runLine({ run: testRun({ waitingFor }), latest }, terminal)).toMatch(/^training, STORAGE_FULL {2}(?!.*ETA)/);
});

test('a new teacher is said beside the loss in eighty columns', () => {
  const run = testRun({ step: 1_391n, settings: { ...testRun().settings!, totalSteps: 1_400 }, etaSeconds: 700 });
  const line = runLine({ run, latest: step(1_392, 28), isNewTeacher: true }, { ...terminal, columns: 80 }, 79);
  expect(line).toContain('new teacher #28  loss 1.250');
  expect(line.length).toBeLessThan(80);
});

test('watch marks the steps after a change of teacher, and only those', async () => {
  const server = await TestServer.start({
    async *watchRun() {
      const settings = { ...testRun().settings!, totalSteps: 20 };
      for (const [number, mark] of [
        [0, 1],
        [1, 1],
        [2, 2],
        [6, 2],
        [7, 2],
      ] as const)
        yield v1.WatchRunResponse.fromPartial({
          run: testRun({ step: BigInt(number), settings }),
          steps: [step(number, mark)],
          revision: 9n,
        });
      const failure = { code: 'DATA_TOO_SHORT', message: 'data.validation_path: holds 3 tokens', field: 'data.validation_path' };
      yield v1.WatchRunResponse.fromPartial({ run: testRun({ status: v1.RunStatus.RUN_STATUS_FAILED, failure, settings }), revision: 10n });
    },
  });
  const { stdout, exitCode } = await runCli(['watch', 'abcd', '--server', server.address]);
  server.stop();
  expect(exitCode).toBe(1);
  const teachers = stdout.split('\n').flatMap((line) => /^training .*?  ((?:new )?teacher #\d)/.exec(line)?.[1] ?? []);
  expect(teachers).toEqual(['teacher #1', 'teacher #1', 'new teacher #2', 'new teacher #2', 'teacher #2']);
  // The server's error is shown with the option names of the command line.
  expect(stdout).toContain('cause: DATA_TOO_SHORT: --validation: holds 3 tokens');
});
