// A training call: segment after segment on the session, with no pause for the client between them. While one trains, the
// state of the one before gets its digest and is written to its file, or sent.
import {
  releaseBytes,
  type SegmentOptions,
  type SegmentResult,
  type Session,
  type StepReport,
  type TeacherStretch,
  type TrainJob,
  writeBytes,
} from '#native-engine';
import { removeSlices } from '../states/handed-state.js';
import { noteStepTimes } from './step-times.js';

export interface TrainingOptions {
  /** The options that hold for all steps; those of a single segment are left out. */
  steps: Omit<
    SegmentOptions,
    'loraLearningRate' | 'scheduledSparsity' | 'stopAtExpectedSparsity' | 'secondsAtMost' | 'teachers' | 'nextTeacher'
  > & {
    loraLearningRate: number[];
    scheduledSparsity: number[];
  };
  segmentSteps: number;
  /** Seconds that a segment may take, or more where its state takes long to write. A slow model's segment ends with fewer steps. */
  segmentSeconds: number | undefined;
  maxSegments: number;
  /** The marks in rising order. The call ends at a mark without a teacher. */
  marks: SparsityMark[];
  teachers: TeacherStretch[];
  /** The beginning of state files' names; '': states are sent instead of written. */
  stateFile: string;
}

export interface SparsityMark {
  expectedSparsity: number;
  /** A teacher by its digest, or the state that this call keeps at one of its own marks. Undefined: the call ends at the mark. */
  teacher: { digest: string | undefined } | { mark: number } | undefined;
}

export interface EndedSegment {
  result: SegmentResult;
  /** The size of the state in bytes; 0 where the client did not ask for states. */
  stateSize: number;
  /** The state's digest, which `result` lacks where it was not asked for there. */
  digest: Promise<string>;
  /** The file of the state, known once it is written; '' where the state is sent from `result`. */
  stateFile: Promise<string>;
  /** The client of this segment calls it once the bytes are no longer needed. */
  letGo: () => void;
}

/** A state may take at most this share of the time: the larger it is, the longer a segment. */
const WRITING_SHARE = 0.02;

export type LocatedSegment = Omit<EndedSegment, 'digest' | 'stateFile'> & { stateFile: string };

/** The segment with all that becomes known while the next one trains. */
export async function located({ digest, stateFile, ...segment }: EndedSegment): Promise<LocatedSegment> {
  const state = { ...segment.result.state, digest: await digest };
  return { ...segment, result: { ...segment.result, state }, stateFile: await stateFile };
}

export type Progress = { step: StepReport } | { segment: EndedSegment } | { calibratedShare: number };

export interface TrainingEnd {
  stopped: boolean;
  teachers: string[];
}

/** @param mayGoOn asked after each segment */
export async function train(
  session: Pick<Session, 'train' | 'nameTeacher'>,
  options: TrainingOptions,
  signal: AbortSignal,
  mayGoOn: () => boolean,
  onProgress: (progress: Progress[]) => void,
): Promise<TrainingEnd> {
  const { steps, segmentSteps, segmentSeconds, maxSegments } = options;
  const endStep = steps.firstStep + steps.loraLearningRate.length;
  const job: TrainJob = {
    signal,
    onReports: (reports) => {
      noteStepTimes(reports);
      onProgress(reports.map((step) => ({ step })));
    },
    onCalibrated: (calibratedShare) => onProgress([{ calibratedShare }]),
  };
  let { marks, teachers } = options;
  let longest = segmentSeconds;
  let before: Promise<void> = Promise.resolve();
  const named = new Map<string, Promise<string>>(); // the digests of teachers that were kept without them
  const atMarks: KeptAtMark[] = [];
  const aborted = new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }));
  for (let firstStep = steps.firstStep, segments = 1; ; segments += 1) {
    const next = Math.min(endStep, firstStep + segmentSteps);
    const result = await session.train(
      {
        ...steps,
        firstStep,
        loraLearningRate: steps.loraLearningRate.slice(firstStep - steps.firstStep, next - steps.firstStep),
        scheduledSparsity: steps.scheduledSparsity.slice(firstStep - steps.firstStep, next - steps.firstStep),
        stopAtExpectedSparsity: marks[0]?.expectedSparsity,
        teachers: teachersOfSteps(teachers, firstStep, next),
        digestLater: true,
        secondsAtMost: longest,
        nextTeacher: knownDigest(marks[0]?.teacher, atMarks) ?? teachers.find((one) => one.firstStep >= next)?.digest,
      },
      job,
    );
    await Promise.race([before, aborted]); // the bytes of two states are in memory at most
    const reached = marks.filter(({ expectedSparsity }) => result.state.expectedSparsity >= expectedSparsity);
    if (result.stepsDone > 0n) {
      const began = performance.now();
      const { ended, gone } = handOut(result, options.stateFile);
      const digest = result.keptAs === '' ? ended.digest : nameWhenKnown(session, result.keptAs, ended.digest);
      if (result.keptAs !== '') named.set(result.keptAs, digest);
      if (reached.length > 0) {
        const state = keptAtMark(digest);
        atMarks.push(...reached.map(() => state));
      }
      before = gone;
      void Promise.all([ended.stateFile, ended.digest]).then(([file]) => {
        if (segmentSeconds === undefined || (file === '' && result.stateFolder === '')) return;
        const writing = result.stateSeconds || (performance.now() - began) / 1000;
        longest = Math.max(segmentSeconds, writing / WRITING_SHARE);
      });
      onProgress([{ segment: ended }]);
    }
    firstStep += Number(result.stepsDone);
    marks = marks.slice(reached.length);
    const last = reached.at(-1);
    const goesOn =
      !result.stopped &&
      firstStep < endStep &&
      segments < maxSegments &&
      (last === undefined || last.teacher !== undefined) &&
      !signal.aborted &&
      mayGoOn();
    if (!goesOn) {
      const teachers = await Promise.all(result.teachers.map(async (name) => (await named.get(name)) ?? name));
      return { stopped: result.stopped || signal.aborted, teachers };
    }
    if (last?.teacher !== undefined) teachers = [{ firstStep, digest: await digestOf(last.teacher, atMarks) }];
  }
}

/** A state that the call has kept as a teacher. Its digest becomes known while the next steps are trained. */
interface KeptAtMark {
  digest: Promise<string>;
  known: string | undefined;
}

function keptAtMark(digest: Promise<string>): KeptAtMark {
  const kept: KeptAtMark = { digest, known: undefined };
  digest.then(
    (known) => (kept.known = known),
    () => undefined, // the promise itself tells the failure
  );
  return kept;
}

function digestOf(teacher: NonNullable<SparsityMark['teacher']>, atMarks: readonly KeptAtMark[]): Promise<string> | string | undefined {
  return 'mark' in teacher ? atMarks[teacher.mark]!.digest : teacher.digest;
}

/** Undefined where the digest is not known yet, and for the intact model. */
function knownDigest(teacher: SparsityMark['teacher'], atMarks: readonly KeptAtMark[]): string | undefined {
  if (teacher === undefined) return undefined;
  return 'mark' in teacher ? atMarks[teacher.mark]?.known : teacher.digest;
}

async function nameWhenKnown(session: Pick<Session, 'nameTeacher'>, keptAs: string, known: Promise<string>): Promise<string> {
  const digest = await known;
  session.nameTeacher(keptAs, digest);
  return digest;
}

/** The teachers of these steps; the first one starts with the first step. */
function teachersOfSteps(teachers: TeacherStretch[], firstStep: number, endStep: number): TeacherStretch[] {
  const at = teachers.findLast((one) => one.firstStep <= firstStep);
  return [
    ...(at === undefined ? [] : [{ ...at, firstStep }]),
    ...teachers.filter((one) => one.firstStep > firstStep && one.firstStep < endStep),
  ];
}

function handOut(result: SegmentResult, stateFile: string): { ended: EndedSegment; gone: Promise<void> } {
  const bytes = result.stateBytes;
  if (bytes === null) {
    const digest = Promise.resolve(result.state.digest);
    const folder = result.stateFolder; // slices: the session has written them, and their digest is known
    const held = folder !== '' && stateFile === '';
    const letGo = (): void => void (held && removeSlices(folder).catch(() => undefined));
    const stateSize = folder === '' ? 0 : result.stateSize;
    return { ended: { result, stateSize, digest, stateFile: Promise.resolve(held ? '' : folder), letGo }, gone: Promise.resolve() };
  }
  const path = stateFile === '' ? '' : `${stateFile}-${result.state.step}`;
  const made = writeBytes(bytes, path);
  const digest = made.then((one) => one.digest);
  const stateSize = bytes.byteLength;
  let letGo = (): void => undefined;
  const sent = new Promise<void>((resolve) => {
    letGo = resolve;
  });
  // A file that can't be written is not a failure of the segment: its state is sent then.
  const written = made.then((one) => (one.written ? path : ''));
  return {
    ended: { result, stateSize, digest, stateFile: written, letGo },
    gone: written.then((file) => (file === '' ? sent : releaseBytes(bytes))),
  };
}
