// The steps of a recorded run on an engine that only trains.
import type { ArtifactStore } from '#artifact-store';
import type { EngineClient } from '../../src/run-execution/engine-client.js';
import { segmentRequest, sessionOptions } from '../../src/run-execution/engine-requests.js';
import type { PruningRunState } from '../../src/pruning-run/pruning-run.js';
import { partsOf, type ReplaySegment } from '../../src/verification/replay-plan.js';

export class BareEngine {
  private sessionId = '';
  private teachers = new Set<string>();
  private readonly signal = new AbortController().signal;

  constructor(private readonly client: EngineClient, private readonly artifacts: ArtifactStore, private readonly threads: number) {}

  async open(run: PruningRunState): Promise<void> {
    const { data, settings } = run;
    this.sessionId = (await this.client.openSession(sessionOptions(run, this.threads), 'overhead')).sessionId;
    await this.client.loadTrainingTokens(this.sessionId, data.trainDigest, data.trainTokens, this.artifacts.open(data.trainDigest));
    await this.client.initialiseState(this.sessionId, BigInt(settings.seed));
  }

  /** The segment that follows the one before. Returns the seconds inside its steps. */
  async train(run: PruningRunState, segment: ReplaySegment): Promise<number> {
    let seconds = 0;
    for (const part of partsOf(segment)) {
      const [{ teacher }] = part.stretches;
      if (teacher.kind === 'snapshot' && !this.teachers.has(teacher.stateDigest)) {
        await this.client.loadTeacher(this.sessionId, teacher.stateDigest, this.artifacts.open(teacher.stateDigest));
      }
      const { outcome } = await this.client.trainSegment(segmentRequest(this.sessionId, run.settings, part, null, 'leave'), (steps) => {
        for (const step of steps) seconds += step.seconds;
      }, this.signal);
      this.teachers = new Set(outcome.teacherDigests);
    }
    return seconds;
  }
}
