// The kept segments of one training. The state that a segment begins with, and everything else that decides its bits, find the segment.
import { createHash } from 'node:crypto';
import type { Logger } from 'pino';
import type { SegmentOptions, StepReport, TeacherStretch } from '#native-engine';
import { engineV1 } from '#protocol';
import type { OpenSession } from '../session-holder.js';
import type { EndedSegment } from '../training/training.js';
import type { KeptSegment, KeptSegments } from './kept-segments.js';

/** The request for a segment, as far as its bits follow from it. Lists have an entry for each step that it may have. */
export interface SegmentStart {
  firstStep: number;
  loraLearningRate: number[];
  scheduledSparsity: number[];
  stopAtExpectedSparsity: SegmentOptions['stopAtExpectedSparsity'];
  teachers: TeacherStretch[];
}

/** The program that computes: another program may have other bits. */
export interface Program {
  version: string;
  build: string;
}

/** The request for a segment of this number of steps, in words that can be compared. */
function wordsOf(start: SegmentStart, steps: number): string {
  const { firstStep, loraLearningRate, scheduledSparsity, stopAtExpectedSparsity } = start;
  const teachers = start.teachers.filter((one) => one.firstStep < firstStep + steps).map((one) => [one.firstStep, one.digest]);
  return JSON.stringify([firstStep, loraLearningRate.slice(0, steps), scheduledSparsity.slice(0, steps), stopAtExpectedSparsity, teachers]);
}

export class SegmentsOfRun {
  private readonly basis: string;
  private readonly run: string;

  /** @param request names the run that segments are kept for */
  constructor(
    private readonly segments: KeptSegments,
    private readonly open: Pick<OpenSession, 'session' | 'text' | 'state'>,
    request: engineV1.TrainRequest,
    program: Program,
    private readonly log: Pick<Logger, 'info'>,
  ) {
    const { losses, freezeMasks, momentsFromStep, oneShot, settings, keepFor } = request;
    this.run = keepFor;
    const { session, text } = open;
    const asked = engineV1.TrainRequest.toJSON(
      engineV1.TrainRequest.fromPartial({ losses, freezeMasks, momentsFromStep, oneShot, settings, keepFor } as engineV1.TrainRequest),
    );
    const opened = [session.numericsFingerprint, session.model.weightsDigest, session.options.settings, text];
    this.basis = JSON.stringify([program.version, program.build, opened, asked], (_key, value: unknown) =>
      typeof value === 'bigint' ? String(value) : value,
    );
  }

  async find(start: SegmentStart): Promise<KeptSegment | null> {
    const name = await this.nameOf(this.open.state, start);
    const found = name === null ? null : await this.segments.find(name);
    if (found === null) return null;
    const { stepsDone, state } = found.result;
    if (stepsDone > start.loraLearningRate.length || found.asked !== wordsOf(start, stepsDone)) return null;
    this.segments.noteHandedOut(name!, state.digest);
    this.log.info(
      { firstStep: start.firstStep, steps: stepsDone, state: state.digest },
      'a segment that was kept on this disk is handed in',
    );
    return found;
  }

  async keep(start: SegmentStart, steps: readonly StepReport[], { result, digest }: EndedSegment): Promise<void> {
    const before = this.open.state;
    this.goOnFrom(digest);
    const name = await this.nameOf(before, start);
    if (name === null) return;
    // The kept segment may be handed out to a later call, and that call was not told to stop.
    const whole = { ...result, stopped: false, state: { ...result.state, digest: await digest } };
    await this.segments.keep(name, { run: this.run, asked: wordsOf(start, result.stepsDone), steps: [...steps], result: whole });
  }

  goOnFrom(state: Promise<string>): void {
    this.open.state = state;
  }

  /** Null: the state at the segment's start is not known. */
  private async nameOf(state: Promise<string>, { firstStep }: SegmentStart): Promise<string | null> {
    const digest = await state;
    if (digest === '') return null;
    return createHash('sha256')
      .update(JSON.stringify([this.basis, digest, firstStep]))
      .digest('hex');
  }
}
