// Texts that clients ask for: made by an engine when one is free, told as they are made, recorded nowhere.
import { Inject, Injectable } from '@nestjs/common';
import type { ArtifactStore } from '#artifact-store';
import { engineV1, v1 } from '#protocol';
import { RunRepository } from '../pruning-run/run-repository.js';
import { EngineJobs } from '../engine-pool/engine-jobs.js';
import { StateKeeper } from '../retention/state-keeper.js';
import { ARTIFACT_STORE } from '../tokens.js';
import { jobOn, loadPrepared, subjectOf } from './subjects.js';
import { textOptions } from './text-requests.js';
import { generateTexts } from './texts.js';

@Injectable()
export class RunTexts {
  constructor(
    @Inject(RunRepository) private readonly runs: RunRepository,
    @Inject(EngineJobs) private readonly jobs: EngineJobs,
    @Inject(StateKeeper) private readonly keeper: StateKeeper,
    @Inject(ARTIFACT_STORE) private readonly artifacts: ArtifactStore,
  ) {}

  async *generate(request: v1.GenerateRequest, runId: string, signal: AbortSignal): AsyncGenerator<v1.GenerateResponse> {
    const run = await loadPrepared(this.runs, runId);
    const subject = subjectOf(run, request);
    const options = textOptions(request, run.model.maxPositions);
    const { wish, pinned } = jobOn(subject, runId, 'texts');
    for (const digest of pinned) await this.keeper.pin(digest);
    const news = new TextNews();
    // A client that leaves while its texts are made ends them.
    const gone = new AbortController();
    const job = this.jobs.submit(
      async (bench, both) => {
        news.begin();
        return generateTexts(bench, this.artifacts, { run, subject, ...options }, (pieces) => news.add(pieces), both);
      },
      wish,
      AbortSignal.any([signal, gone.signal]),
      () => news.wake(),
    );
    const ended = job.result.then(
      () => news.end(),
      () => news.end(),
    );
    try {
      let told = '';
      while (!news.ended) {
        await news.next();
        const pieces = news.take();
        const waitingFor = news.begun ? '' : job.waitingFor;
        if (pieces.length > 0) yield { pieces, waitingFor: '', outcome: undefined };
        else if (waitingFor !== '' && waitingFor !== told) yield { pieces: [], waitingFor, outcome: undefined };
        told = waitingFor;
      }
      yield { pieces: news.take(), waitingFor: '', outcome: await job.result };
    } finally {
      gone.abort();
      void ended.then(() => pinned.forEach((digest) => this.keeper.release(digest)));
    }
  }
}

const ENDS: Record<engineV1.TextEnd, v1.TextEnd> = {
  [engineV1.TextEnd.TEXT_END_UNSPECIFIED]: v1.TextEnd.TEXT_END_UNSPECIFIED,
  [engineV1.TextEnd.TEXT_END_MODEL]: v1.TextEnd.TEXT_END_MODEL,
  [engineV1.TextEnd.TEXT_END_STOP]: v1.TextEnd.TEXT_END_STOP,
  [engineV1.TextEnd.TEXT_END_LENGTH]: v1.TextEnd.TEXT_END_LENGTH,
  [engineV1.TextEnd.UNRECOGNIZED]: v1.TextEnd.UNRECOGNIZED,
};

/** The ends of texts, which a client was not told yet. A slow client gets more at once: no more is kept than the texts themselves. */
export class TextNews {
  begun = false;
  ended = false;
  private pieces = new Map<number, engineV1.TextPiece>();
  private fresh = false;
  private wakeUp: () => void = () => undefined;

  begin(): void {
    this.begun = true;
    this.wake();
  }

  add(pieces: readonly engineV1.TextPiece[]): void {
    for (const piece of pieces) {
      const before = this.pieces.get(piece.prompt);
      this.pieces.set(piece.prompt, before === undefined ? piece : { ...piece, text: before.text + piece.text });
    }
    this.wake();
  }

  end(): void {
    this.ended = true;
    this.wake();
  }

  wake(): void {
    this.fresh = true;
    this.wakeUp();
  }

  /** Until there is something new since the last call. */
  async next(): Promise<void> {
    if (!this.fresh) {
      await new Promise<void>((resolve) => {
        this.wakeUp = resolve;
      });
    }
    this.fresh = false;
  }

  take(): v1.TextPiece[] {
    const pieces = [...this.pieces.values()];
    this.pieces.clear();
    return pieces.map(({ prompt, text, tokens, end }) => ({ prompt, text, tokens, end: ENDS[end] }));
  }
}
