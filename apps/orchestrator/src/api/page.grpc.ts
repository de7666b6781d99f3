// Answers PageService by the pages. Which caller may change which page is a rule of the guard.
import { randomUUID } from 'node:crypto';
import { Inject, Injectable } from '@nestjs/common';
import { invalidField, unary, v1, type CallInfo } from '#protocol';
import type { CallContext } from '../event-sourcing/call-context.js';
import { idOfRequest } from '../event-sourcing/event-ids.js';
import { contentOf, pageMessage } from '../pages/page-message.js';
import { PageRepository } from '../pages/page-repository.js';
import type { PageRun } from '../pages/page.events.js';
import { RunsAt } from '../queries/run-at.js';
import { DriverLease } from '../storage/driver-lease.js';
import { StorageWatch } from '../storage/storage-watch.js';
import { Callers } from './admission/callers.js';

@Injectable()
export class PageGrpc {
  constructor(
    @Inject(PageRepository) private readonly pages: PageRepository,
    @Inject(RunsAt) private readonly runsAt: RunsAt,
    @Inject(DriverLease) private readonly lease: DriverLease,
    @Inject(StorageWatch) private readonly storage: StorageWatch,
    @Inject(Callers) private readonly callers: Callers,
  ) {}

  handlers(): v1.PageServiceServer {
    const { pages } = this;
    return {
      savePage: unary(async (request: v1.SavePageRequest, _signal, call) => this.save(request, await this.accepted(call))),
      listPages: unary(async (): Promise<v1.ListPagesResponse> => ({ pages: (await pages.all()).map(pageMessage) })),
      getPage: unary(async ({ pageId }: v1.GetPageRequest): Promise<v1.GetPageResponse> => ({
        page: pageMessage(await pages.load(pageId)),
      })),
      deletePage: unary(async ({ pageId, reason }: v1.DeletePageRequest, _signal, call): Promise<v1.DeletePageResponse> => {
        const by = await this.accepted(call);
        await pages.load(pageId);
        await pages.change(pageId, { kind: 'delete', reason }, { by });
        return {};
      }),
    };
  }

  private async save({ pageId, name, content, revision, requestId }: v1.SavePageRequest, by: CallContext): Promise<v1.SavePageResponse> {
    const id = pageId === '' ? idOfRequest('page', `${by.actor}\n${requestId === '' ? randomUUID() : requestId}`) : pageId;
    if (pageId !== '') await this.pages.load(pageId);
    const checked = await contentOf(content, (run, field) => this.held(run, field));
    const expected = revision === undefined ? undefined : Number(revision);
    const page = await this.pages.change(id, { kind: 'save', pageId: id, name, content: checked, expected }, { by });
    return { page: pageMessage(page) };
  }

  /** The run that a page names, with the chain of its record at the revision. @throws EspalierError RECORD_DIFFERS */
  private async held({ runId, revision, digestChain }: v1.PageRun, field: string): Promise<PageRun> {
    const { run } = await this.runsAt.of(runId, revision, field);
    if (revision === undefined) return { runId: run.runId };
    if (digestChain !== '' && digestChain !== run.chain)
      throw invalidField(
        'RECORD_DIFFERS',
        `${field}.digest_chain`,
        `run ${run.runId} has the digest chain ${run.chain} at revision ${revision}, not ${digestChain}`,
      );
    return { runId: run.runId, held: { revision: run.revision, chain: run.chain } };
  }

  /** Checks that changes are possible, and returns the caller of the change. */
  private async accepted(call: CallInfo): Promise<CallContext> {
    await this.storage.requireRoom();
    this.lease.requireHeld();
    return this.callers.contextOf(call);
  }
}
