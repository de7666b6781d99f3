// The guard between the handlers and both protocols, for all rules that depend on a call's message and its caller. A caller whose role is
// too low for the method was refused before (access.ts). The guard keeps callers from other callers' work and from forbidden paths,
// hides paths from viewers, and ends a call when its token or login ends.
import { Inject, Injectable } from '@nestjs/common';
import type { MethodDefinition, UntypedHandleCall } from '@grpc/grpc-js';
import { methodAccess, methodAt, plainHandler, serverStreaming, unary, v1, type CallInfo, type PlainHandler } from '#protocol';
import type { OrchestratorConfig } from '../../config.js';
import { BackgroundJobs } from '../../run-services/background-jobs.js';
import { PageRepository } from '../../pages/page-repository.js';
import { StudyRepository } from '../../studies/study-repository.js';
import { RunViews } from '../../views/run-views.js';
import { ORCHESTRATOR_CONFIG } from '../../provider-names.js';
import { Access, requireAtLeast } from './access.js';
import { Callers } from './callers.js';
import { requireAllowedPaths } from './allowed-paths.js';
import { errorWithoutOutsidePaths, hidesPaths, withoutOutsidePaths } from './hidden-paths.js';

/** The fields by which a request names what another caller may have started. */
interface Named {
  runId?: string;
  studyId?: string;
  pageId?: string;
  jobId?: string;
  name?: string;
}

type AnyMethod = Pick<MethodDefinition<object, object>, 'path' | 'responseStream'>;

@Injectable()
export class Guard {
  constructor(
    @Inject(Access) private readonly access: Access,
    @Inject(Callers) private readonly callers: Callers,
    @Inject(RunViews) private readonly views: RunViews,
    @Inject(BackgroundJobs) private readonly jobs: BackgroundJobs,
    @Inject(StudyRepository) private readonly studies: StudyRepository,
    @Inject(PageRepository) private readonly pages: PageRepository,
    @Inject(ORCHESTRATOR_CONFIG) private readonly config: OrchestratorConfig,
  ) {}

  /** Returns the handler behind the guard. */
  of({ path, responseStream }: AnyMethod, handler: object): UntypedHandleCall {
    const plain = plainHandler(handler);
    if (!responseStream)
      return unary(async (request: object, signal, call) => {
        await this.require(path, request, call);
        const hold = this.access.hold(this.callers.grantOf(call));
        try {
          return this.shown(await untilEnd(hold?.signal, signal, (both) => plain(request, both, call) as Promise<object>), call);
        } catch (error) {
          throw this.shownError(error, call);
        } finally {
          hold?.release();
        }
      }) as UntypedHandleCall;
    return serverStreaming((request: object, signal, call) => this.stream(plain, path, request, signal, call)) as UntypedHandleCall;
  }

  private async *stream(plain: PlainHandler, path: string, request: object, signal: AbortSignal, call: CallInfo): AsyncGenerator<object> {
    await this.require(path, request, call);
    const hold = this.access.hold(this.callers.grantOf(call));
    const end = hold?.signal;
    const signals = end === undefined ? signal : AbortSignal.any([signal, end]);
    const messages = (plain(request, signals, call) as AsyncIterable<object>)[Symbol.asyncIterator]();
    let isDone = false;
    try {
      for (;;) {
        const next = await untilEnd(end, signals, () => messages.next());
        if ((isDone = next.done === true)) return;
        yield this.shown(next.value, call);
      }
    } catch (error) {
      throw this.shownError(error, call);
    } finally {
      hold?.release();
      // The signal tells a handler that still waits about the end.
      if (!isDone) {
        const left = Promise.resolve(messages.return?.()).catch(() => undefined);
        if (end?.aborted !== true) await left;
      }
    }
  }

  /** Returns an answer as its caller may see it. */
  private shown(answer: object, call: CallInfo): object {
    return hidesPaths(this.callers.grantOf(call), this.config) ? withoutOutsidePaths(answer, this.config.dataRoots) : answer;
  }

  private shownError(error: unknown, call: CallInfo): unknown {
    return hidesPaths(this.callers.grantOf(call), this.config) ? errorWithoutOutsidePaths(error, this.config.dataRoots) : error;
  }

  /**
   * Checks a call before its handler runs. A handler that turns its request into the request of another method has that request checked,
   * too.
   * @throws EspalierError ROLE_TOO_LOW, PATH_NOT_ALLOWED
   */
  async require(path: string, request: object, call: CallInfo): Promise<void> {
    const grant = this.callers.grantOf(call);
    this.access.requireRole(path, grant); // checked again after the message, so that no way of calling can forget it
    if (grant.kind === 'owner' || grant.kind === 'anonymous') return;
    const { onOthers } = methodAccess(path);
    if (onOthers !== v1.Role.ROLE_UNSPECIFIED) {
      const startedBy = await this.startedBy(request);
      if (startedBy !== undefined && startedBy !== this.callers.actorOf(call))
        requireAtLeast(onOthers, grant, `what ${startedBy === '' ? 'another caller' : startedBy} has started is`);
    }
    await requireAllowedPaths(methodAt(path)!.input, request, this.config.dataRoots);
  }

  /**
   * Returns the caller who started the run, study or job, or made the page, that the request names, or undefined if it does not exist; the
   * handler then refuses the request.
   */
  private async startedBy(request: Named): Promise<string | undefined> {
    if (request.pageId === '') return undefined; // a new page
    if (request.pageId !== undefined) return (await this.pages.load(request.pageId)).madeBy?.actor ?? '';
    if (request.jobId !== undefined) return this.jobs.startedBy(request.jobId);
    if (request.runId !== undefined) return (await this.views.summary(await this.views.wholeRunId(request.runId))).run.launchedBy ?? '';
    await this.studies.start();
    const study =
      request.studyId === undefined ? this.studies.all().find(({ name }) => name === request.name) : this.studies.named(request.studyId);
    return study === undefined ? undefined : (study.launchContext?.actor ?? '');
  }
}

/** Returns the result of the work, or throws the reason of the end if that comes first. */
async function untilEnd<T>(end: AbortSignal | undefined, signal: AbortSignal, work: (signal: AbortSignal) => Promise<T>): Promise<T> {
  if (end === undefined) return work(signal);
  end.throwIfAborted();
  let stop: () => void = () => undefined;
  const ended = new Promise<never>((_, reject) => {
    stop = () => reject(end.reason as Error);
    end.addEventListener('abort', stop);
  });
  try {
    return await Promise.race([work(signal === end ? signal : AbortSignal.any([signal, end])), ended]);
  } finally {
    end.removeEventListener('abort', stop);
  }
}
