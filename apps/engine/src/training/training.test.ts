import type { SegmentResult } from '#native-engine';
import { train, type Progress, type TrainingOptions } from './training.js';

/** The end of a segment of one step that makes a teacher. */
const ended = (step: number, keptAs: string): SegmentResult =>
  ({
    state: { step, digest: '', expectedSparsity: step / 100 },
    stateBytes: new Uint8Array(16).fill(step),
    teachers: [keptAs],
    keptAs,
    stepsDone: 1n,
    stopped: false,
  }) as unknown as SegmentResult;

const mark = (expectedSparsity: number): TrainingOptions['marks'][number] => ({ expectedSparsity, teacher: { digest: undefined } });

test('a state that is kept as a teacher gets its digest for a name', async () => {
  const named: string[][] = [];
  const session = {
    nameTeacher: (keptAs: string, digest: string) => void named.push([keptAs, digest]),
    train: ({ firstStep }: { firstStep: number }) => Promise.resolve(ended(firstStep + 1, `unnamed ${firstStep + 1}`)),
  };
  const options = {
    steps: { firstStep: 0, loraLearningRate: [0, 0], scheduledSparsity: [0, 0] },
    segmentSteps: 1,
    segmentSeconds: undefined,
    maxSegments: 9,
    marks: [mark(0.01), mark(0.02)],
    teachers: [],
    stateFile: '',
  } as unknown as TrainingOptions;
  const letGo = (progress: Progress[]): void => progress.forEach((one) => 'segment' in one && one.segment.letGo());
  const end = train(session, options, new AbortController().signal, () => true, letGo);
  const { teachers } = await end;
  expect(teachers).toEqual([expect.stringMatching(/^[0-9a-f]{64}$/)]);
  expect(named).toEqual([
    ['unnamed 1', expect.stringMatching(/^[0-9a-f]{64}$/)],
    ['unnamed 2', teachers[0]],
  ]);
});
