// Tests the pages that users make, on a real server: who may change them, and that a report shows the same after its run has gone on.
import { ChannelCredentials, type Client } from '@grpc/grpc-js';
import { bearerToken, v1 } from '#protocol';
import { codeOf, TestServer, unary } from './harness/server.js';

const server = TestServer.inNewFolder();
const open: Client[] = [];
beforeAll(() => server.start());
afterAll(async () => {
  for (const client of open) client.close();
  await server.dispose();
});

async function clientOf(name: string, role: v1.Role): Promise<v1.PageServiceClient> {
  const { secret } = await unary<v1.CreateTokenResponse>((done) =>
    server.access.createToken(v1.CreateTokenRequest.fromPartial({ name, role, days: 1 }), done),
  );
  const made = new v1.PageServiceClient(server.listenAddress, ChannelCredentials.createInsecure(), bearerToken(secret));
  open.push(made);
  return made;
}
const save = async (pages: v1.PageServiceClient, request: Partial<v1.SavePageRequest>): Promise<v1.SavedPage> =>
  (await unary<v1.SavePageResponse>((done) => pages.savePage(v1.SavePageRequest.fromPartial(request), done))).page!;
const ofRuns = (...runs: { runId: string; revision?: bigint; digestChain?: string }[]): v1.PageContent =>
  v1.PageContent.fromPartial({ panels: { runs, panels: [{ title: 'Figures', table: { figures: ['perplexity'] } }] } });
const listed = async (pages: v1.PageServiceClient): Promise<v1.SavedPage[]> =>
  (await unary<v1.ListPagesResponse>((done) => pages.listPages({}, done))).pages;
const remove = (pages: v1.PageServiceClient, pageId: string): Promise<unknown> =>
  unary((done) => pages.deletePage({ pageId, reason: '' }, done));
const refusal = (call: Promise<unknown>): Promise<string> => call.then(() => 'OK', codeOf);
const figures = async (at: { runId: string; revision?: bigint }[]): Promise<v1.ListFiguresResponse> =>
  unary<v1.ListFiguresResponse>((done) =>
    server.runs.listFigures(v1.ListFiguresRequest.fromPartial({ figures: ['step', 'perplexity', 'loss', 'teachers'], at }), done),
  );
const curve = (runId: string, atRevision?: bigint): Promise<v1.QueryCurvesResponse> =>
  unary<v1.QueryCurvesResponse>((done) =>
    server.history.queryCurves(v1.QueryCurvesRequest.fromPartial({ runId, atRevision, quantities: ['loss'], maxPoints: 5_000 }), done),
  );

test('each viewer reads a page, its owner and an admin change it, and it outlives the server', async () => {
  const [ann, ben] = [await clientOf('ann', v1.Role.ROLE_OPERATOR), await clientOf('ben', v1.Role.ROLE_OPERATOR)];
  const [eve, ada] = [await clientOf('eve', v1.Role.ROLE_VIEWER), await clientOf('ada', v1.Role.ROLE_ADMIN)];
  const view = {
    name: 'by size',
    content: v1.PageContent.fromPartial({ listView: { query: 'order=parameters&q=a%2Fb' } }),
    requestId: 'once',
  };
  const { pageId, revision } = await save(ann, view);
  expect((await save(ann, view)).pageId).toBe(pageId); // a repeated request makes no second page
  expect(await refusal(save(eve, view))).toBe('ROLE_TOO_LOW');
  expect(await refusal(save(ben, { ...view, pageId, name: 'mine now' }))).toBe('ROLE_TOO_LOW');
  expect(await refusal(remove(ben, pageId))).toBe('ROLE_TOO_LOW');
  expect(await save(ada, { ...view, pageId, name: 'by parameters', revision })).toMatchObject({ madeBy: 'token:ann', revision: 1n });
  expect(await refusal(save(ann, { ...view, pageId, name: 'late', revision }))).toBe('PAGE_CHANGED');
  await server.kill();
  await server.start();
  const reader = await clientOf('eva', v1.Role.ROLE_VIEWER);
  expect(await listed(reader)).toMatchObject([{ pageId, name: 'by parameters', madeBy: 'token:ann', content: view.content }]);
  const owner = await clientOf('ada-again', v1.Role.ROLE_ADMIN);
  await remove(owner, pageId);
  expect(await listed(reader)).toEqual([]);
  expect(await refusal(save(owner, { ...view, pageId }))).toBe('PAGE_NOT_FOUND');
  expect(await refusal(remove(owner, 'nowhere'))).toBe('PAGE_NOT_FOUND');
});

test('a report holds its runs at a revision and its digest: what is recorded later changes no figure and no curve', async () => {
  const pages = await clientOf('reporter', v1.Role.ROLE_OPERATOR);
  const { runId } = await server.launch({ totalSteps: 60 });
  await server.completed(runId);
  const { revision, digestChain } = await server.run(runId);
  const [then, curveThen] = [await figures([{ runId }]), await curve(runId)];
  const page = await save(pages, { name: 'report', content: ofRuns({ runId, revision }) });
  expect(page.content!.panels!.runs).toEqual([{ runId, revision, digestChain }]);
  const forged = ofRuns({ runId, revision, digestChain: 'f'.repeat(64) });
  expect(await refusal(save(pages, { name: 'forged', content: forged }))).toBe('RECORD_DIFFERS');
  expect(await refusal(save(pages, { name: 'early', content: ofRuns({ runId, revision: 10_000n }) }))).toBe('REVISION_NOT_FOUND');
  const scattered = (across: string) =>
    v1.PageContent.fromPartial({ panels: { runs: [{ runId, revision }], panels: [{ title: '', scatter: { across, up: 'perplexity' } }] } });
  const plotted = await save(pages, { name: 'plot', content: scattered('parameters_left') });
  expect(plotted.content!.panels!.panels).toMatchObject([{ scatter: { across: 'parameters_left', up: 'perplexity' } }]);
  expect(await refusal(save(pages, { name: 'no number', content: scattered('recipe') }))).toBe('FIELD_OUT_OF_RANGE');
  expect(await refusal(save(pages, { name: 'no figure', content: scattered('nothing') }))).toBe('FIELD_UNKNOWN_VALUE');
  await server.resume(runId, { from: { $case: 'teacherMark', value: 2 } });
  await server.completed(runId);
  const now = await server.run(runId);
  expect(now.revision).toBeGreaterThan(revision);
  expect(now.rewinds).toBe(1);
  const held = await figures([{ runId, revision }, { runId }]);
  expect(held).toMatchObject({ runIds: [runId, runId], revisions: [revision, now.revision], digestChains: [digestChain, now.digestChain] });
  expect(held.columns.map(({ numbers }) => numbers[0])).toEqual(then.columns.map(({ numbers }) => numbers[0]));
  expect(await curve(runId, revision)).toEqual(curveThen);
  const early = await figures([{ runId, revision: 0n }]);
  expect(early.columns.map(({ numbers }) => numbers[0])).toEqual([0, NaN, NaN, 0]);
  const problems: string[] = [];
  const verified = server.history.verifyAll({}) as AsyncIterable<v1.VerifyAllResponse>;
  for await (const { ok, detail } of verified) if (!ok) problems.push(detail);
  expect(problems).toEqual([]);
  await unary<v1.DeleteRunResponse>((done) => server.runs.deleteRun(v1.DeleteRunRequest.fromPartial({ runId }), done));
  expect((await figures([{ runId, revision }])).columns).toEqual(then.columns); // the files of a deleted run go, and its record stays
  expect(await curve(runId, revision)).toEqual(curveThen);
});
