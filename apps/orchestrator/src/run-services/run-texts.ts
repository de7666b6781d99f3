// Texts that clients ask for. A free engine writes them, the client gets them as they are written, and nothing is recorded.
import { Inject, Injectable } from '@nestjs/common';
import type { ArtifactStore } from '#artifact-store';
import { chatPrompts } from '#model-files';
import { v1 } from '#protocol';
import { RunRepository } from '../pruning-run/run-repository.js';
import { EngineJobs } from '../engine-pool/engine-jobs.js';
import { StateKeeper } from '../retention/state-keeper.js';
import { ARTIFACT_STORE } from '../provider-names.js';
import { ModelReader } from '../models/read-model.js';
import { followed } from './followed-job.js';
import { requireNoRun } from './model-services.js';
import { isRun, jobOn, loadPrepared, subjectOf, wishWithoutRun, type ModelAlone, type Subject } from '../measurements/subjects.js';
import { textOptions } from '../measurements/text-requests.js';
import { generateTexts } from '../measurements/texts.js';

@Injectable()
export class RunTexts {
  constructor(
    @Inject(RunRepository) private readonly runs: RunRepository,
    @Inject(EngineJobs) readonly jobs: EngineJobs,
    @Inject(StateKeeper) readonly keeper: StateKeeper,
    @Inject(ARTIFACT_STORE) private readonly artifacts: ArtifactStore,
    @Inject(ModelReader) private readonly models: ModelReader,
  ) {}

  async *generate(request: v1.GenerateRequest, runId: string, signal: AbortSignal): AsyncGenerator<v1.GenerateResponse> {
    const alone = request.modelPath === '' ? null : await this.alone(request, signal);
    const run = alone ?? (await loadPrepared(this.runs, runId));
    const subject: Subject = isRun(run) ? subjectOf(run, request) : { kind: 'intact' };
    const options = textOptions(request, run.model.maxPositions);
    if (request.chat) options.prompts = await chatPrompts(run.model.path, options.prompts, signal);
    const { wish, pinned } = isRun(run) ? jobOn(subject, run, 'texts') : { wish: wishWithoutRun(`texts of ${run.model.path}`), pinned: [] };
    const news = new TextNews();
    const job = followed(
      this,
      {
        wish,
        pinned,
        work: (bench, onNews, both) => {
          news.begin();
          const onPieces = (pieces: readonly v1.TextPiece[]): void => {
            news.add(pieces);
            onNews();
          };
          return generateTexts(bench, this.artifacts, { run, subject, ...options }, onPieces, both);
        },
        takeNews: () => news.drain(),
      },
      signal,
    );
    const nothing = { pieces: [], waitingFor: '', outcome: undefined };
    for await (const heard of job) {
      if ('waitingFor' in heard) yield { ...nothing, waitingFor: heard.waitingFor };
      else if ('news' in heard) yield { ...nothing, pieces: heard.news };
      else yield { ...nothing, outcome: heard.result };
    }
  }

  private alone(request: v1.GenerateRequest, signal: AbortSignal): Promise<ModelAlone> {
    requireNoRun(request);
    return this.models.read(request.modelPath, signal);
  }
}

/** The parts of texts that the client does not have yet. A slow client gets more at once, so no more is kept than the texts themselves. */
class TextNews {
  private pieces = new Map<number, v1.TextPiece>();
  /** The characters of each text that were added, those written since its last beginning, and whether its end was added. */
  private readonly known = new Map<number, { added: number; written: number; isOver: boolean }>();

  /** Called when the texts are written from their beginning, maybe once more. The same texts come, so known parts are left out. */
  begin(): void {
    for (const text of this.known.values()) text.written = 0;
  }

  add(pieces: readonly v1.TextPiece[]): void {
    for (const piece of pieces) {
      const known = this.known.get(piece.prompt) ?? { added: 0, written: 0, isOver: false };
      this.known.set(piece.prompt, known);
      const text = piece.text.slice(Math.max(0, known.added - known.written));
      known.written += piece.text.length;
      const isNew = known.written > known.added || (piece.end !== v1.TextEnd.TEXT_END_UNSPECIFIED && !known.isOver);
      if (!isNew) continue;
      known.added = known.written;
      known.isOver = piece.end !== v1.TextEnd.TEXT_END_UNSPECIFIED;
      const before = this.pieces.get(piece.prompt);
      this.pieces.set(piece.prompt, { ...piece, text: (before?.text ?? '') + text });
    }
  }

  /** Returns the new parts, or null where there are none. */
  drain(): v1.TextPiece[] | null {
    if (this.pieces.size === 0) return null;
    const pieces = [...this.pieces.values()];
    this.pieces.clear();
    return pieces;
  }
}
