// Tests all views and forms of the dashboard as a person uses them: Chromium in front of a real server with a real run. Skipped where there
// is no Chromium. The first steps of a person are in dashboard.test.ts.
import { readFileSync } from 'node:fs';
import { basename, dirname } from 'node:path';
import type { Locator, Page, Request } from 'playwright-core';
import { checkAuditBundle } from '#audit';
import { gainWords } from '#comparison';
import { v1 } from '#protocol';
import { Dashboard, describeInChromium, longNumbersIn, NAME } from './harness/dashboard.js';
import { isShownAs } from './harness/shown-numbers.js';
import { CORPUS, ENDLESS, TINY_MODEL, TINY_RUN, unary } from './harness/server.js';

/** The views of a run, each with words that it shows. */
const VIEWS_OF_RUN: [path: string, words: string][] = [
  ['', 'Loss'],
  ['/teachers', 'Snapshots'],
  ['/masks', 'Attention heads'],
  ['/ladder', 'Parameters left'],
  ['/evaluations', 'windows of 64 tokens'],
  ['/family', 'nothing was forked from it yet'],
  ['/history', 'RunCompleted'],
  ['/settings', 'lora_learning_rate'],
];

/** A scan has as many steps as its model has layers, and it prunes nothing. */
const TINY_SCAN: Partial<v1.RunSettings> = {
  recipe: v1.Recipe.RECIPE_SCAN,
  totalSteps: undefined,
  targetSparsity: undefined,
  segmentSteps: undefined,
  calibrationSequences: 8,
  scanSequences: 4,
};

/** A text that tries whatever a text must not do, beside what it may. */
const HOSTILE_TEXT = `# It works

| kept | share |
|---|--:|
| heads | **12** |

[a run](/runs), [no code](javascript:document.title=1), [no data](data:text/html,x), [no other host](//host/x)

![no picture](https://host/x.png) <img src=x onerror="document.title=1"> <script>document.title = 1</script>
<p style="position:fixed" onclick="document.title=1">no style</p>
`;

describeInChromium('the dashboard', () => {
  const dashboard = new Dashboard();
  const { server, complaints, text, state, view, shot, shots, barriers, barriersOfBothThemes, overprinted, cli } = dashboard;
  const chart = (title: string) => page.getByRole('region', { name: title, exact: true });
  const csvOf = async (title: string) => {
    const downloaded = page.waitForEvent('download');
    await page.getByRole('button', { name: `CSV of ${title}`, exact: true }).click();
    const [head = '', ...lines] = readFileSync(await (await downloaded).path(), 'utf8')
      .trim()
      .split('\r\n');
    const outsideQuotes = /,(?=(?:[^"]*"[^"]*")*[^"]*$)/;
    return { head: head.split(outsideQuotes), rows: lines.map((line) => line.split(',').map(Number)) };
  };
  let page: Page;
  let runId: string;

  beforeAll(async () => {
    page = await dashboard.opened();
    ({ runId } = await server.launch({ totalSteps: 150 }, { name: NAME, tags: ['trial'] }));
    await server.completed(runId);
  });
  afterAll(() => dashboard.end());

  test.each(VIEWS_OF_RUN)('the view %s of a run has an address of its own, in both themes without barriers', async (path, words) => {
    await view(`/runs/${runId}${path}`, words);
    expect(await barriersOfBothThemes(`run${path.replace('/', '-')}`)).toEqual([]);
  });

  test('a number of nine digits or more is found wherever it stands alone', () => {
    expect(longNumbersIn('loss 2.3456789012 at 127.0.0.1:54321, 0.30000000000000004 of 1\u202f234\u202f567\u202f891')).toEqual([
      '2.3456789012',
      '0.30000000000000004',
      '1\u202f234\u202f567\u202f891',
    ]);
    expect(longNumbersIn('5.124 at step 12\u202f345, 0.00001234, 1000000000, a1234567890b, 15:04:05, 2.34e-12')).toEqual([]);
  });

  test('a shown number is the value, rounded to its own digits, and no other', () => {
    for (const [text, value] of [
      ['228\u2009k', 227_745],
      ['10.5\u2009%', 0.10483],
      ['\u22121.2', -1.24],
      ['1\u202f200', 1_200],
      ['3.1e\u22125', 3.14e-5],
    ] as const)
      expect([text, isShownAs(text, value)]).toEqual([text, true]);
    for (const [text, value] of [
      ['228\u2009k', 228_600],
      ['10.5\u2009%', 0.106],
      ['5.12', 5.13],
      ['–', 0],
      ['', 0],
      ['12 apples', 12],
    ] as const)
      expect([text, isShownAs(text, value)]).toEqual([text, false]);
  });

  test('charts come first: figures, teachers and values fold to a line each, and stay as the reader left them', async () => {
    await page.setViewportSize({ width: 1280, height: 900 });
    await view(`/runs/${runId}`, 'Gradient norm');
    expect((await chart('Loss').boundingBox())!.y).toBeLessThan(450);
    expect(await page.getByText('Expected sparsity').filter({ visible: true }).count()).toBe(0);
    await page.locator('summary', { hasText: 'Figures' }).click();
    await text('Expected sparsity');
    await page.reload();
    await text('Expected sparsity');
    expect(await barriers()).toEqual([]);
    await page.locator('summary', { hasText: 'Figures' }).click();
    await page.getByRole('button', { name: 'All values' }).click();
    await page.locator('.readout .values').waitFor();
    await page.getByRole('button', { name: 'Fewer values' }).click();
    const setting = page.getByText('lora_learning_rate', { exact: true });
    expect((await setting.boundingBox())!.y).toBeGreaterThan((await chart('Gradient norm').boundingBox())!.y);
    await page.setViewportSize({ width: 390, height: 844 });
    await page.reload();
    await text('Gradient norm');
    expect(await setting.count()).toBe(0);
    await page.locator('summary', { hasText: 'Settings of the run' }).click();
    await setting.waitFor();
    await page.locator('summary', { hasText: 'Settings of the run' }).click();
    await page.setViewportSize({ width: 1280, height: 900 });
    await view(`/compare?runs=${runId}`, 'baseline');
    expect((await chart('Loss').boundingBox())!.y).toBeLessThan(300);
  });

  test('a chart is drawn over sparsity or parameters, with a logarithmic axis, and on the full screen', async () => {
    await view(`/runs/${runId}`, 'Gradient norm');
    await page.getByLabel('X axis').selectOption('expected_sparsity');
    const recorded = await unary<v1.QueryMetricsResponse>((done) =>
      server.history.queryMetrics(v1.QueryMetricsRequest.fromPartial({ runId, maxPoints: 1_000 }), done),
    );
    const loss = await csvOf('Loss');
    expect(loss.head.slice(0, 2)).toEqual(['expected sparsity', '"total (loss, nats)"']);
    expect(loss.rows.map(([x, y]) => [x, y])).toEqual(recorded.steps.map(({ loss: y, expectedSparsity }) => [expectedSparsity, y]));
    await page.getByRole('button', { name: 'Logarithmic axis of Loss' }).click();
    expect(new URL(page.url()).search).toBe('?x=expected_sparsity&log=Loss');
    expect(await barriersOfBothThemes('run-over-sparsity')).toEqual([]);
    await page.getByLabel('X axis').selectOption('parameters');
    const left = (await csvOf('Loss')).rows.map(([x]) => x).filter((x) => x !== 0);
    expect(left.at(-1)).toBe(Number((await server.run(runId)).result!.parameterCount));
    await page.getByRole('button', { name: 'Full screen of Loss' }).click();
    await page.waitForFunction(
      'document.fullscreenElement?.ariaLabel === "Loss" && innerHeight - document.querySelector(".chart canvas").clientHeight < 250',
    );
    await shot('full-screen');
    await page.evaluate('document.exitFullscreen()');
    await page.getByRole('button', { name: 'Logarithmic axis of Loss' }).click();
    await page.getByLabel('X axis').selectOption('step');
  });

  test('a reader adds a chart of any figure over any other, to a run and to a comparison, and the address keeps it', async () => {
    await view(`/runs/${runId}`, 'any figure over any other');
    await page.locator('summary', { hasText: 'Your charts' }).click();
    await page.getByLabel('Draw').selectOption('open_units');
    await page.getByRole('combobox', { name: 'over', exact: true }).selectOption('gradient_norm');
    await page.getByRole('button', { name: 'Add this chart' }).click();
    const title = 'Open units over gradient norm';
    await chart(title).waitFor();
    expect(new URL(page.url()).searchParams.get('own')).toBe('open_units~gradient_norm');
    const asked = v1.QueryCurvesRequest.fromPartial({ runId, maxPoints: 1_000, quantities: ['open_units', 'gradient_norm'] });
    const { curves } = await unary<v1.QueryCurvesResponse>((done) => server.history.queryCurves(asked, done));
    const of = (name: string): number[] => curves.find(({ quantity }) => quantity === name)!.mean;
    const drawn = await csvOf(title);
    expect(drawn.head).toEqual(['gradient norm', 'Open units (units)']);
    expect(drawn.rows).toEqual(of('open_units').map((y, index) => [of('gradient_norm')[index], y]));
    expect(await barriersOfBothThemes('own-chart')).toEqual([]);
    await view(`/compare?runs=${runId}&own=open_units~gradient_norm`, title);
    expect((await csvOf(title)).rows).toEqual(drawn.rows);
    await page.getByRole('button', { name: `Without ${title}` }).click();
    await chart(title).waitFor({ state: 'detached' });
    await page.locator('summary', { hasText: 'Your charts' }).click();
  });

  test('a page is made from a comparison, its runs are held, and it shows the same after the run was evaluated again', async () => {
    await view('/pages', 'No pages yet');
    expect(await barriers()).toEqual([]);
    await view(`/compare?runs=${runId}`, 'baseline');
    await page.getByRole('link', { name: 'Make a page' }).click();
    const form = page.getByRole('form', { name: 'The page to save' });
    await form.getByLabel('Name').fill('Why half is enough');
    await form.getByRole('button', { name: 'Hold all as they are now' }).click();
    await form.getByText(/^revision \d+$/).waitFor();
    await form.getByRole('button', { name: 'Add a text' }).click();
    const third = form.getByRole('listitem', { name: 'Panel 3' });
    await third.getByLabel('Title').fill('In short');
    await third.getByRole('textbox', { name: 'Markdown of panel 3' }).fill(HOSTILE_TEXT);
    await form.getByRole('button', { name: 'Panel 3 up' }).click();
    await form.getByRole('button', { name: 'Panel 2 up' }).click();
    await form.getByRole('button', { name: 'Panel 3 down' }).waitFor();
    await form.getByRole('combobox', { name: 'Another column' }).selectOption('step');
    await form.getByRole('button', { name: 'Add a scatter' }).click();
    await form.getByRole('listitem', { name: 'Panel 4' }).getByRole('combobox', { name: 'Across' }).selectOption('total_steps');
    expect(await barriersOfBothThemes('page-edited')).toEqual([]);
    await form.getByRole('button', { name: 'Save the page' }).click();
    await page.waitForURL(/\/pages\/[a-z2-7]{12}$/);
    const table = page.getByRole('region', { name: 'Figures' });
    await table.getByRole('row').nth(1).waitFor();
    await text('report of');
    expect(await Promise.all((await page.locator('.panels > section').all()).map((one) => one.getAttribute('aria-label')))).toEqual([
      'In short',
      'Loss over step',
      'Figures',
      'perplexity against total steps',
    ]);
    const scatter = page.getByRole('group', { name: 'perplexity against total steps' });
    expect(await scatter.locator('a').getAttribute('href')).toBe(`/runs/${runId}`);
    const prose = page.locator('.prose');
    await prose.getByRole('heading', { name: 'It works' }).waitFor();
    expect(await prose.locator('script, img, iframe, style, [style], [onerror], [onclick]').count()).toBe(0);
    const links = await prose.locator('a[href]').all();
    expect(await Promise.all(links.map(async (one) => [await one.textContent(), await one.getAttribute('href')]))).toEqual([
      ['a run', '/runs'],
      ['no picture', 'https://host/x.png'], // a link, which loads nothing by itself
    ]);
    expect(await page.title()).toBe('Why half is enough · Espalier');
    const before = { figures: await table.getByRole('row').allTextContents(), loss: await csvOf('Loss over step') };
    expect(before.loss.rows.length).toBe(150);
    expect(await barriersOfBothThemes('page')).toEqual([]);
    const evaluated = server.runs.evaluateRun(v1.EvaluateRunRequest.fromPartial({ runId, window: 32, tokens: 640 }));
    for await (const _ of evaluated as AsyncIterable<v1.EvaluateRunResponse>);
    await page.reload();
    await text('1 event since then');
    expect(await table.getByRole('row').allTextContents()).toEqual(before.figures);
    expect(await csvOf('Loss over step')).toEqual(before.loss);
    await page.getByRole('button', { name: 'Edit' }).click();
    await form.getByRole('button', { name: 'Follow all' }).click();
    await form.getByRole('button', { name: 'Save the page' }).click();
    await text('as it is now');
    await view('/pages', 'Why half is enough');
    expect(await barriersOfBothThemes('pages')).toEqual([]);
    await page.getByRole('link', { name: 'Why half is enough' }).click();
    await page.getByRole('button', { name: 'Delete', exact: true }).click();
    await page.getByRole('button', { name: 'Delete the page' }).click();
    await text('No pages yet');
    expect(complaints).toEqual([]);
  });

  test('the slider goes back to an earlier state of the masks, by keys', async () => {
    await view(`/runs/${runId}/masks`, 'State at step');
    const slider = page.getByRole('slider');
    const before = await slider.getAttribute('aria-valuetext');
    await slider.press('Home');
    expect(await slider.getAttribute('aria-valuetext')).not.toBe(before);
  });

  test('a teacher that is chosen in the timeline is forked at; the answer of the plan is shown while typing', async () => {
    await view(`/runs/${runId}`, 'each can be forked at');
    await page.locator('summary', { hasText: 'each can be forked at' }).click();
    await page.getByRole('slider', { name: 'Teacher' }).fill('4');
    await page.getByRole('button', { name: /^Fork at teacher \d+$/ }).click();
    const dialog = page.getByRole('dialog');
    await dialog.getByText('local-1').waitFor(); // the engine that the plan would take
    const from = dialog.getByRole('combobox').first();
    const teacher = await from.inputValue();
    expect(teacher).toMatch(/^[0-9a-f]{64}$/);
    await dialog.getByText(/^\d+, from step \d+ to 150$/).waitFor();
    await from.selectOption('last');
    await dialog.getByText(/^No plan: total steps: must be above 150/).waitFor(); // refused as the fork would be
    await from.selectOption(teacher);
    await dialog.getByLabel('total steps').fill('44');
    await dialog.getByPlaceholder('13', { exact: true }).waitFor({ state: 'attached' }); // the warm-up follows: 45 of 150 steps before
    await dialog.getByLabel('total steps').fill('');
    await dialog.getByLabel('target sparsity').fill('700');
    await dialog.locator('.field', { hasText: 'target sparsity' }).getByText('is 700').waitFor(); // refused as the launch would be
    await dialog.getByText(/^No plan: target sparsity: /).waitFor(); // the plan of the value before it is gone
    expect(await barriers()).toEqual([]);
    await dialog.getByLabel('target sparsity').fill('0.15');
    await dialog.locator('.wrong').waitFor({ state: 'detached' });
    await dialog.getByLabel('Name').fill('forked by hand');
    await shot('fork');
    await dialog.getByRole('button', { name: 'Fork', exact: true }).click();
    await page.waitForURL((url) => url.pathname.startsWith('/runs/') && !url.pathname.includes(runId));
    await text('forked by hand');
    const forkId = new URL(page.url()).pathname.split('/')[2]!;
    expect(await server.run(forkId)).toMatchObject({ parentRunId: runId, settings: { targetSparsity: 0.15 } });
    await state('completed');
    await page.getByRole('link', { name: 'Family' }).click();
    await page.getByRole('link', { name: /<img/ }).waitFor();
    await view(`/compare?runs=${runId},${forkId}`, 'baseline');
    await page.getByRole('row', { name: 'target sparsity 0.2 0.15' }).waitFor();
    expect(await barriers()).toEqual([]);
    await shot('compare');
  });

  test('beside a step stands its teacher with the distance; beside a teacher its export, its speed and its children', async () => {
    const step = 100;
    const { teachers } = cli('teachers', runId) as { teachers: { mark: number; step: number; expected_sparsity: number }[] };
    const assigned = (await server.events(runId))
      .filter(({ type }) => type === 'TeacherAssigned')
      .map(({ dataJson }) => JSON.parse(dataJson));
    const { teacher } = assigned.findLast(({ fromStep }: { fromStep: number }) => fromStep <= step) as { teacher: { mark: number } };
    const taught = teachers.find(({ mark }) => mark === teacher.mark)!;
    const asked = v1.QueryMetricsRequest.fromPartial({ runId, fromStep: BigInt(step), toStep: BigInt(step) });
    const { steps } = await unary<v1.QueryMetricsResponse>((done) => server.history.queryMetrics(asked, done));
    const distance = (100 * (steps[0]!.expectedSparsity - taught.expected_sparsity)).toFixed(1);
    await view(`/runs/${runId}`, 'Gradient norm');
    await page.getByRole('slider', { name: 'Step' }).fill(String(step));
    await text(`teacher #${taught.mark} of step ${taught.step}, ${distance} points less sparse`);
    const { tree } = await unary<v1.GetLineageResponse>((done) => server.runs.getLineage({ runId }, done));
    const child = tree.find(({ parentRunId }) => parentRunId === runId)!;
    const parent = teachers.find((one) => one.step === Number(child.forkedAtStep))!;
    const measured = v1.BenchRunRequest.fromPartial({ runId, teacherMark: parent.mark, promptTokens: 4, tokens: 4, rounds: 3 });
    for await (const _ of server.runs.benchRun(measured) as AsyncIterable<v1.BenchRunResponse>);
    const { decode } = (await server.run(runId)).speeds.at(-1)!;
    await view(`/runs/${runId}/teachers`, 'Snapshots');
    const row = page.getByRole('row').filter({ has: page.getByText(`#${parent.mark}`, { exact: true }) });
    await row.getByText(gainWords(decode)).waitFor();
    expect(await row.getByRole('link', { name: 'forked by hand' }).getAttribute('href')).toBe(`/runs/${child.runId}`);
    const shown = page.getByRole('region', { name: 'Teachers over the steps' });
    await shown.getByRole('slider', { name: 'Teacher' }).fill(String(teachers.indexOf(parent)));
    await shown.getByText(`decodes ${gainWords(decode)}`).waitFor();
    await shown.getByText(/exports as (about )?[\d.\u202f]+\s[KM]iB/).waitFor();
    await shown.getByRole('link', { name: 'forked by hand' }).waitFor();
    expect(await barriersOfBothThemes('teacher')).toEqual([]);
  });

  test('the form of a launch is without barriers, and shows what the plan refuses', async () => {
    await view('/', 'in all');
    await page.getByRole('button', { name: 'Launch', exact: true }).click();
    const dialog = page.getByRole('dialog');
    await dialog.getByLabel('Model').first().fill('/nowhere');
    await dialog
      .getByText(/\/nowhere/)
      .first()
      .waitFor();
    expect(await barriers()).toEqual([]);
    await shot('launch');
    await page.getByRole('button', { name: 'Choose: Model' }).click(); // there is nothing to list near /nowhere, so it begins in the roots
    const chooser = page.getByRole('dialog', { name: 'Choose: Model' });
    await chooser.getByRole('button', { name: `${dirname(TINY_MODEL)} folder` }).click();
    expect(await barriers()).toEqual([]);
    await shot('chooser');
    await chooser.getByRole('button', { name: new RegExp(`^${basename(TINY_MODEL)} model`) }).click();
    await chooser.waitFor({ state: 'detached' });
    expect(await dialog.getByLabel('Model').first().inputValue()).toBe(TINY_MODEL);
    await dialog.getByLabel('Model').first().fill('/nowhere');
    await page.keyboard.press('Escape');
    await dialog.waitFor({ state: 'detached' });
    await page.getByRole('button', { name: 'Launch', exact: true }).click();
    expect(await dialog.getByLabel('Model').first().inputValue()).toBe('/nowhere'); // the earlier input is kept
    await dialog.getByRole('button', { name: 'Start over' }).click();
    await page.keyboard.press('Escape');
  });

  test('the ladder evaluates each tenth teacher, also when the page is left, and draws the front', async () => {
    await view(`/runs/${runId}/ladder`, 'not evaluated yet');
    const takenUp = page.waitForResponse((answer) => answer.url().endsWith('/StartJob'));
    await page.getByRole('region', { name: 'Evaluation of the ladder' }).getByRole('combobox').selectOption('10');
    await page.getByRole('button', { name: 'Evaluate these' }).click();
    await takenUp;
    await view('/', 'in all'); // the server goes on when the page is left
    await view(`/runs/${runId}/ladder`, 'Perplexity against size');
    await page.getByRole('button', { name: 'Evaluate them' }).waitFor(); // the job is done, and others are left
    expect(await page.getByText('★').count()).toBeGreaterThan(0);
    expect(await barriersOfBothThemes('ladder')).toEqual([]);
  });

  test('a run is evaluated from the page: a refusal stands beside its field, and the result beside the others', async () => {
    await view(`/runs/${runId}/evaluations`, 'No export yet');
    await page.getByRole('button', { name: 'Evaluate', exact: true }).click();
    const dialog = page.getByRole('dialog');
    await dialog.getByLabel('Window').fill('1');
    await dialog.getByRole('button', { name: 'Evaluate', exact: true }).click();
    await dialog.locator('.field', { hasText: 'Window' }).getByText('must be from 2').waitFor();
    expect(await barriers()).toEqual([]);
    await dialog.getByLabel('Window').fill('16');
    await dialog.getByRole('button', { name: 'Evaluate', exact: true }).click();
    await dialog.waitFor({ state: 'detached' });
    await page.getByRole('region', { name: 'Jobs' }).getByText('done: perplexity').waitFor(); // without a reload
    await page.getByRole('cell', { name: 'windows of 16 tokens' }).waitFor();
    expect(await barriers()).toEqual([]);
    await shot('evaluations');
  });

  test('the record is checked with replay from the page, and its audit bundle is downloaded', async () => {
    await view(`/runs/${runId}`, 'Loss');
    await page.getByRole('button', { name: 'not checked' }).click();
    const dialog = page.getByRole('dialog', { name: 'Integrity of the record' });
    await dialog.getByRole('button', { name: 'Check with replay' }).click();
    await dialog.getByText(/^done: everything holds, 150 steps computed again/).waitFor();
    await view(`/runs/${runId}/history`, 'Steps that were computed twice');
    const { stretches } = JSON.parse((await server.events(runId)).findLast(({ type }) => type === 'StepsReplayed')!.dataJson) as {
      stretches: unknown[];
    };
    expect(await page.locator('svg.life .agrees').count()).toBe(stretches.length);
    expect(await page.getByRole('img', { name: 'Engines and events over time' }).locator('rect title').textContent()).toMatch(
      /^attempt 1 on /,
    );
    expect(await page.getByRole('list', { name: 'Steps that were computed twice, in words' }).textContent()).toMatch(
      /^steps 0–149: equal, by a process of the server, .*\(verification\)$/,
    );
    expect(await barriersOfBothThemes('history')).toEqual([]);
    await page.getByRole('button', { name: 'not checked' }).click();
    expect(await barriers()).toEqual([]);
    await shot('integrity');
    await page.evaluate('delete window.showSaveFilePicker; undefined'); // the picker would ask a person where to write
    const downloaded = page.waitForEvent('download');
    await dialog.getByRole('button', { name: 'Download the audit bundle' }).click();
    const bundle = await downloaded;
    expect(bundle.suggestedFilename()).toBe(`${runId}.audit.tar`);
    expect(await checkAuditBundle(await bundle.path())).toMatchObject({ ok: true, runs: [{ runId, steps: 150 }] });
    await page.keyboard.press('Escape');
  });

  test('the intact model and the pruned one write beside one another', async () => {
    await view(`/runs/${runId}/texts`, 'Nothing is recorded');
    await page.getByRole('textbox', { name: 'Prompt' }).fill('one');
    await page.getByRole('textbox', { name: /^Tokens/ }).fill('4');
    await page.getByRole('button', { name: 'Write' }).click();
    for (const name of ['Text by intact model', 'Text by last state'])
      await page
        .getByRole('region', { name })
        .getByText(/^[1-4] tokens?.*(length is reached|the model ended it)$/)
        .waitFor();
    expect(await barriers()).toEqual([]);
    await shot('texts');
  });

  test('studies say how to begin; one that is launched shows its runs, its groups and its plot, and can be cancelled', async () => {
    await view('/studies', 'No studies yet');
    expect(await barriers()).toEqual([]);
    await page.getByRole('button', { name: 'New study' }).click();
    const dialog = page.getByRole('dialog');
    await dialog.getByRole('textbox', { name: 'File' }).fill('name: seeds\nmodle: here\n');
    await dialog.getByRole('button', { name: 'Launch', exact: true }).click();
    await dialog.getByText('line 2: there is no "modle"').waitFor();
    expect(await barriers()).toEqual([]);
    await shot('new-study');
    await dialog.getByRole('button', { name: 'Back' }).click();
    const run = (variant: string, recipe: v1.Recipe, seed: bigint): v1.StudyRunRequest =>
      v1.StudyRunRequest.fromPartial({
        variant,
        modelPath: TINY_MODEL,
        data: { trainPath: CORPUS, validationPath: CORPUS },
        settings: { ...TINY_RUN, totalSteps: 1, recipe, seed, calibrationSequences: 4 },
      });
    const runs = [1n, 2n].flatMap((seed) => [run('wanda', v1.Recipe.RECIPE_WANDA, seed), run(NAME, v1.Recipe.RECIPE_TAYLOR, seed)]);
    await server.study<v1.LaunchStudyResponse>((client, done) =>
      client.launchStudy({ name: 'seeds', note: '', atOnce: 1, runs, halving: undefined }, done),
    );
    await page.getByRole('link', { name: 'seeds' }).click();
    await page.getByText('4 of 4 completed').waitFor(); // without a reload
    await page.getByRole('group', { name: 'perplexity against sparsity, %' }).waitFor();
    await page.getByRole('row', { name: /^wanda 2 of 2/ }).waitFor();
    expect(await page.locator('main img').count()).toBe(0); // markup in a name is shown as text
    const picture = page.getByRole('group', { name: 'perplexity against sparsity, %' });
    expect(await picture.locator('text').last().textContent()).toMatch(/^before pruning: /); // above the line, and above all marks
    expect(await overprinted()).toEqual([]);
    expect(await barriersOfBothThemes('study')).toEqual([]);
    await page.getByLabel('Show').selectOption('scatter');
    await page.getByLabel('Across').selectOption('calibration_sequences');
    const points = page.getByRole('group', { name: 'perplexity against calibration sequences' }).locator('a');
    await points.nth(3).waitFor();
    expect(await points.count()).toBe(4);
    expect(
      await page.getByRole('region', { name: 'perplexity against calibration sequences' }).getByRole('button', { name: 'wanda' }).count(),
    ).toBe(1);
    expect(await barriersOfBothThemes('study-scatter')).toEqual([]);
    const asked = new Set<string>();
    const noted = (request: Request): void => {
      if (request.url().endsWith('/ListFigures')) asked.add(request.postDataBuffer()!.toString('hex'));
    };
    page.on('request', noted);
    await view('/studies/seeds?plot=scatter&where=recipe%3Dwanda', 'each point is a run');
    await page.getByRole('region', { name: 'Runs of the study' }).getByRole('row').nth(2).waitFor();
    page.off('request', noted);
    expect(asked.size).toBe(1); // the plot and the table show the runs of one request
    expect(await page.getByRole('region', { name: 'Runs of the study' }).getByRole('row').count()).toBe(3); // the head, and two runs
    await page.getByLabel('Show').selectOption('parallel');
    await page.getByRole('img', { name: /^Runs by .*perplexity$/ }).waitFor();
    expect(await page.locator('.run-line').count()).toBe(4);
    expect(await barriersOfBothThemes('study-parallel')).toEqual([]);
    const long = [v1.StudyRunRequest.fromPartial({ ...runs[0]!, settings: { ...TINY_RUN, ...ENDLESS } })];
    await server.study<v1.LaunchStudyResponse>((client, done) =>
      client.launchStudy({ name: 'long', note: '', atOnce: 1, runs: long, halving: undefined }, done),
    );
    await view('/studies/long', '1 under way');
    await page.getByRole('button', { name: 'Cancel' }).click();
    await page.getByRole('button', { name: 'Cancel the study' }).click();
    await text('1 cancelled');
    await state('cancelled');
    await view('/studies/nowhere', 'No study nowhere');
  });

  test('the record is checked from the page', async () => {
    await view(`/runs/${runId}`, 'not checked');
    await page.getByRole('button', { name: 'not checked' }).click();
    await page.getByRole('button', { name: 'Check now' }).click();
    await text(/Everything holds/);
    await page.getByRole('button', { name: 'Close' }).click();
    await page.getByRole('button', { name: 'verified' }).waitFor();
  });

  test('an admin makes a token on the page; the buttons of a viewer who logs in with it are those of a viewer', async () => {
    await view('/server', 'Tokens');
    await page.getByRole('button', { name: 'New token' }).click();
    const dialog = page.getByRole('dialog');
    await dialog.getByLabel('Name').fill('ann');
    expect(await barriers()).toEqual([]);
    await dialog.getByRole('button', { name: 'Make the token' }).click();
    const secret = await dialog.locator('input[readonly]').inputValue();
    await dialog.getByRole('button', { name: 'Close' }).click();
    await page.getByRole('button', { name: 'Revoke token ann' }).waitFor();
    await page.getByRole('region', { name: 'Log' }).waitFor();
    expect(await barriers()).toEqual([]);
    await shot('server');
    await page.locator('summary[aria-label^="Logged in as"]').click();
    await page.getByRole('button', { name: 'Log out' }).click();
    await text('This browser is not logged in');
    await page.getByLabel('Token').fill('espalier_wrong');
    await page.getByRole('button', { name: 'Log in' }).click();
    await page.getByRole('alert').getByText('token').waitFor();
    await page.getByLabel('Token').fill(secret);
    await page.getByRole('button', { name: 'Log in' }).click();
    await page.locator('summary[aria-label="Logged in as token:ann"]').waitFor();
    for (const path of ['/server', `/runs/${runId}`, `/runs/${runId}/evaluations`]) {
      await view(path, path === '/server' ? 'Engines' : 'Hard sparsity');
      await page.locator('summary[aria-label="Logged in as token:ann"]').waitFor();
      for (const name of ['Launch', 'New token', 'Fork', 'Delete', 'Evaluate', 'Export', 'Measure'])
        expect([path, name, await page.getByRole('button', { name, exact: true }).count()]).toEqual([path, name, 0]);
    }
    await dashboard.logIn();
    await page.getByRole('button', { name: 'Launch', exact: true }).waitFor();
  });

  test('when the server is killed the page says so, and goes on by itself when it is back', async () => {
    await view('/', '7 in all');
    await server.kill();
    await text('server away, trying again');
    await text('forked by hand'); // the page keeps its content
    await server.orphansGone();
    await server.start();
    await text('live');
    await page.getByLabel('Name contains').fill('forked');
    await text('1 found');
    expect(new URL(page.url()).search).toBe('?q=forked');
    await page.getByRole('button', { name: 'Sparsity' }).click();
    expect(await page.getByRole('columnheader', { name: /Sparsity/ }).getAttribute('aria-sort')).toBe('descending');
  });

  test('single keys search, go through the list, choose, go to views, and can be turned off', async () => {
    await view('/studies', 'seeds');
    await page.keyboard.press('g');
    await page.keyboard.press('r');
    await text('7 in all');
    await page.keyboard.press('j');
    await page.keyboard.press('j');
    await page.keyboard.press('x');
    await page.keyboard.press('k');
    await page.keyboard.press('x');
    await page.getByRole('button', { name: 'Compare 2' }).waitFor();
    await page.keyboard.press('?');
    const dialog = page.getByRole('dialog', { name: 'Keys' });
    expect(await barriers()).toEqual([]);
    await dialog.getByLabel('Single keys are commands').uncheck();
    await dialog.getByRole('button', { name: 'Close' }).click();
    await page.keyboard.press('g');
    await page.keyboard.press('s');
    await page.keyboard.press('?');
    await dialog.getByLabel('Single keys are commands').check();
    await page.keyboard.press('Escape');
    expect(new URL(page.url()).pathname).toBe('/');
    await page.keyboard.press('/');
    await page.keyboard.type('f*hand'); // a pattern of the whole name
    await text('1 found');
    await page.locator('summary', { hasText: 'Views' }).focus();
    await page.keyboard.press('Enter');
    await page.keyboard.press('ArrowDown');
    await page.keyboard.press('ArrowDown');
    expect(await page.evaluate('document.activeElement.closest("details.menu") !== null')).toBe(true);
    await page.keyboard.press('Escape');
  });

  test('all runs of the list are drawn against one another, and an area that is marked becomes a filter', async () => {
    await view('/?plot=scatter', 'each point is a run');
    await page.getByLabel('Across').selectOption('total_steps');
    const plot = page.getByRole('group', { name: 'perplexity against total steps' });
    const points = plot.locator('a');
    await points.first().waitFor();
    const listed = await unary<v1.ListRunsResponse>((done) => server.runs.listRuns(v1.ListRunsRequest.fromPartial({}), done));
    const measured = listed.runs.filter(({ evaluations }) => evaluations.some(({ headline }) => headline));
    expect(await points.count()).toBe(measured.length);
    expect(await barriersOfBothThemes('scatter')).toEqual([]);
    const box = (await plot.locator('.brush').boundingBox())!;
    await page.mouse.move(box.x + box.width / 2, box.y + 2);
    await page.mouse.down();
    await page.mouse.move(box.x + box.width - 1, box.y + box.height - 1, { steps: 4 });
    await page.mouse.up();
    await text('found');
    expect(new URL(page.url()).searchParams.get('where')).toMatch(
      /^total_steps>=[\d.]+, total_steps<=[\d.]+, perplexity>=[\d.]+, perplexity<=[\d.]+$/,
    );
    await page.getByRole('button', { name: 'Without these bounds' }).click();
    await text('7 in all');
    await view('/?plot=scatter&where=perplexity>%3D1,perplexity<%3D2', 'No run matches'); // an area that holds no run
    await page.getByRole('button', { name: 'Without these bounds' }).click();
    await text('7 in all');
    await page.getByLabel('Show').selectOption('parallel');
    await page.getByRole('img', { name: /^Runs by .*perplexity$/ }).waitFor();
    expect(await page.locator('.run-line').count()).toBe(7);
    expect(await overprinted()).toEqual([]);
    expect(await barriersOfBothThemes('parallel')).toEqual([]);
  });

  test('the mean course of all runs is drawn for each group, with a band', async () => {
    await view('/?plot=curves&group=recipe', 'Mean of loss');
    await page.getByRole('combobox', { name: 'Mean of' }).selectOption('expected_sparsity');
    await chart('Mean of expected sparsity').waitFor();
    const asked = v1.QueryMeanCurvesRequest.fromPartial({ quantity: 'expected_sparsity', by: ['recipe'] });
    const { groups } = await unary<v1.QueryMeanCurvesResponse>((done) => server.history.queryMeanCurves(asked, done));
    const { head, rows } = await csvOf('Mean of expected sparsity');
    const at = groups.findIndex(({ values }) => values[0] === 'nuteprune');
    expect(head[1 + 3 * at]).toMatch(/^"?nuteprune \(\d runs?\)/);
    const byStep = new Map(rows.map((row) => [row[0], row[1 + 3 * at]]));
    expect(groups[at]!.steps.map((step) => byStep.get(Number(step)))).toEqual(groups[at]!.mean);
    expect(await barriersOfBothThemes('mean-curves')).toEqual([]);
  });

  test('runs are ordered by any column and grouped; what one sees of the list is kept under a name', async () => {
    await view('/?columns=name,set.seed,set.recipe', '7 in all');
    await page.getByRole('button', { name: 'seed' }).click();
    await page.getByRole('columnheader', { name: 'seed', exact: false }).and(page.locator('[aria-sort=ascending]')).waitFor();
    await page.getByLabel('Group by').selectOption('recipe');
    await page.getByRole('button', { name: /^Show the \d+ runs of wanda$/ }).waitFor();
    await page
      .getByRole('row', { name: /nuteprune/ })
      .getByRole('link', { name: /<img|forked by hand/ })
      .waitFor(); // the best run, by name
    expect(await barriers()).toEqual([]);
    await page.locator('summary', { hasText: 'Views' }).click();
    await page.getByLabel('Name of this view').fill('by recipe');
    await page.getByRole('button', { name: 'Save' }).click();
    await view('/', '7 in all');
    await page.locator('summary', { hasText: 'Views' }).click();
    await page.getByRole('link', { name: 'by recipe' }).click();
    await page.getByRole('button', { name: /^Show the \d+ runs of wanda$/ }).click();
    expect(new URL(page.url()).searchParams.get('where')).toBe('recipe=wanda');
  });

  test('a name that is being typed outlives a list that is drawn again meanwhile', async () => {
    await view('/', '7 in all');
    // A letter is typed and the whole page is drawn again for another theme, both in one turn of the page, so that nothing can happen in
    // between.
    await page.evaluate(`{
      const field = document.querySelector('input[type=search]');
      field.value = 'forked';
      field.dispatchEvent(new Event('input', { bubbles: true }));
      document.querySelector('button[aria-label^="Change to the"]').click();
    }`);
    await text('1 found');
    expect(await page.getByLabel('Name contains').inputValue()).toBe('forked');
    await page.getByRole('button', { name: /^Change to the/ }).click();
  });

  test('a branch that a run was rewound from stays in the picture of its family', async () => {
    const { runId: rewound } = await server.disturbed({
      launch: () => server.launch({ totalSteps: 150 }),
      when: ({ teacherCount }) => teacherCount > 8,
      by: async (runId) => {
        await unary<v1.CancelRunResponse>((cb) => server.runs.cancelRun({ runId, reason: '' }, cb));
        await server.resume(runId, { from: { $case: 'teacherMark', value: 3 } });
        return true;
      },
    });
    await view(`/runs/${rewound}/family`, 'a branch that a rewind abandoned');
    expect(await page.locator('.family .abandoned title').textContent()).toMatch(/^abandoned by a rewind: steps \d+ to \d+$/);
    expect(await barriers()).toEqual([]);
  });

  test('the life of a run has its attempts, its pauses, and the time in which its server was away', async () => {
    const { runId: hard } = await server.launch(ENDLESS);
    const trains = (attempt: number) =>
      server.until(hard, (run) => run.attempt === attempt && run.status === v1.RunStatus.RUN_STATUS_TRAINING && run.step > 0n);
    await trains(1);
    await server.pause(hard);
    await server.resume(hard);
    await trains(2);
    await server.kill();
    await server.orphansGone();
    await server.start();
    await trains(3);
    await unary<v1.CancelRunResponse>((done) => server.runs.cancelRun({ runId: hard, reason: 'enough' }, done));
    await server.until(hard, ({ status }) => status === v1.RunStatus.RUN_STATUS_CANCELLED);
    await view(`/runs/${hard}/history`, 'the server was away');
    const titles = await page.getByRole('img', { name: 'Engines and events over time' }).locator('rect title').allTextContents();
    expect(titles.map((words) => words.replace(/ on .*|:.*/, '')).sort()).toEqual([
      'attempt 1',
      'attempt 2',
      'attempt 3',
      'paused',
      'the server was away',
    ]);
    const told = (await server.events(hard)).filter(({ type }) => ['EngineAttached', 'EngineLost', 'RunPaused'].includes(type));
    expect(told.length).toBe(5);
    const listed = await page.getByRole('region', { name: 'Life of the run' }).getByRole('listitem').allTextContents();
    for (const { summary } of told) expect(listed.filter((words) => words.includes(summary))).toHaveLength(1);
    expect(await overprinted()).toEqual([]);
    expect(await barriersOfBothThemes('life')).toEqual([]);
  });

  test('the numbers of charts are as large on a dense screen', async () => {
    const screen = await dashboard.browser.newCDPSession(page);
    await page.addInitScript(`{
      const draw = CanvasRenderingContext2D.prototype.fillText;
      window.textSizes = [];
      CanvasRenderingContext2D.prototype.fillText = function (...args) {
        window.textSizes.push(parseFloat(/([\\d.]+)px/.exec(this.font)[1]) / devicePixelRatio);
        return draw.apply(this, args);
      };
    }`);
    for (const deviceScaleFactor of [2, 3]) {
      await screen.send('Emulation.setDeviceMetricsOverride', { width: 1280, height: 800, deviceScaleFactor, mobile: false });
      await view(`/runs/${runId}`, 'Gradient norm');
      await page.waitForFunction('textSizes.length > 0');
      expect(await page.evaluate<number>('Math.min(...textSizes)')).toBeGreaterThanOrEqual(11);
      await shot(`run-${deviceScaleFactor}x`);
    }
    await screen.send('Emulation.clearDeviceMetricsOverride');
  });

  test('each number on the page is the command line’s, rounded', async () => {
    interface CliRun {
      run_id: string;
      step: number;
      hard_sparsity: number;
      teacher_count: number;
      result: { parameter_count: number } | null;
      settings: Record<string, unknown>;
      last_step: { loss: number } | null;
      training_seconds: number;
      evaluations: { subject: string; teacher_mark: number | null; value: number; n: number; step: number; headline: boolean }[];
    }
    const cells = async (row: Locator): Promise<string[]> => (await row.getByRole('cell').allTextContents()).map((text) => text.trim());
    const differing: string[] = [];
    let compared = 0;
    const compare = (name: string, shown: string | undefined, value: number | null | undefined): void => {
      compared += 1;
      const isSame = value === null || value === undefined ? shown === '–' : isShownAs(shown ?? '', value);
      if (!isSame) differing.push(`${name}: ${shown} for ${value}`);
    };
    const { runs } = cli('runs') as { runs: CliRun[] };
    await page.setViewportSize({ width: 1600, height: 1000 });
    await view('/?columns=id,step,set.seed,perplexity,parameters_left,loss,teachers', `${runs.length} in all`);
    for (const run of runs) {
      const row = page.getByRole('row').filter({ hasText: run.run_id });
      const [step, seed, perplexity, parameters, loss, teachers] = (await cells(row)).slice(-6);
      compare(`${run.run_id} step`, step, run.step);
      compare(`${run.run_id} seed`, seed, Number(run.settings['seed']));
      compare(`${run.run_id} perplexity`, perplexity, run.evaluations.find(({ headline }) => headline)?.value);
      compare(`${run.run_id} parameters`, parameters, run.result?.parameter_count);
      compare(`${run.run_id} loss`, loss, run.last_step?.loss);
      compare(`${run.run_id} teachers`, teachers, run.teacher_count);
    }
    const run = cli('show', runId) as CliRun;
    await view(`/runs/${runId}/settings`, 'lora_learning_rate');
    const shown = await page.evaluate<[name: string, value: string][]>(
      "[...document.querySelectorAll('th[scope=row]')].map((head) => [head.firstChild.data, head.nextElementSibling.textContent])",
    );
    for (const [name, value] of Object.entries(run.settings)) if (typeof value === 'number') compare(name, new Map(shown).get(name), value);
    await view(`/runs/${runId}/evaluations`, 'windows of 64 tokens');
    const measured = await page.getByRole('region', { name: 'Evaluations' }).getByRole('row').all();
    expect(measured.length).toBe(run.evaluations.length + 1);
    const left = [...run.evaluations];
    for (const row of measured.slice(1)) {
      const [, , value = '', n = '', step = ''] = await cells(row);
      const at = left.findIndex((one) => isShownAs(value, one.value) && isShownAs(n, one.n) && isShownAs(step, one.step));
      compared += 1;
      if (at < 0) differing.push(`evaluation ${value} at step ${step}`);
      else left.splice(at, 1);
    }
    const { teachers } = cli('teachers', runId) as {
      teachers: {
        mark: number;
        step: number;
        expected_sparsity: number;
        hard_sparsity: number;
        bytes: number;
        weight_bytes: number;
        parameter_count: number;
      }[];
    };
    await view(`/runs/${runId}/teachers`, 'Snapshots');
    for (const one of teachers) {
      const row = page.getByRole('row').filter({ has: page.getByText(`#${one.mark}`, { exact: true }) });
      const [, step, expected, hard, parameters, , , exported, , , size] = await cells(row);
      compare(`#${one.mark} step`, step, one.step);
      compare(`#${one.mark} expected sparsity`, expected, one.expected_sparsity);
      compare(`#${one.mark} hard sparsity`, hard, one.hard_sparsity);
      compare(`#${one.mark} parameters`, parameters, one.parameter_count);
      compare(`#${one.mark} export`, exported?.replace('about ', ''), one.weight_bytes);
      compare(`#${one.mark} state`, size, one.bytes);
    }
    expect(differing).toEqual([]);
    expect(compared).toBeGreaterThan(150);
  });

  test('each view can be read at four widths: nothing reaches beyond the window, and the labels of plots stand clear', async () => {
    const narrow: string[] = [];
    const views: [name: string, path: string, words: string][] = [
      ['runs', '/', 'in all'],
      ['scatter', '/?plot=scatter', 'each point is a run'],
      ['parallel', '/?plot=parallel', 'a line breaks where'],
      ['groups', '/?group=recipe', 'mean ± standard deviation'],
      ['studies', '/studies', 'seeds'],
      ['study', '/studies/seeds', '4 of 4 completed'],
      ['compare', `/compare?runs=${runId}`, 'baseline'],
      ['pages', '/pages', 'page'],
      ['page', `/pages/new?runs=${runId}`, 'as it is now'],
      ['server', '/server', 'Engines'],
      ...VIEWS_OF_RUN.map(([tab, words]): [string, string, string] => [
        `run${tab.replace('/', '-')}`,
        `/runs/${runId}${tab}`,
        tab === '/family' ? 'forked by hand' : words, // the run has a fork by now
      ]),
    ];
    for (const [width, height] of [
      [390, 844],
      [1024, 768],
      [1440, 900],
      [2560, 1440],
    ] as const) {
      await page.setViewportSize({ width, height });
      for (const [name, path, words] of views) {
        await view(path, words);
        const sideways = await page.evaluate<number>('document.documentElement.scrollWidth - document.documentElement.clientWidth');
        if (sideways > 0) narrow.push(`${name} at ${width}: ${sideways} pixels`);
        narrow.push(...(await overprinted()).map((words) => `${name} at ${width}: ${words}`));
        const [inSight, all] = await page.evaluate<[number, number]>(`(() => {
          const links = [...document.querySelectorAll('nav [aria-current]')].map((one) => one.getBoundingClientRect());
          return [links.filter(({ left, right }) => left >= 0 && right <= innerWidth).length, links.length];
        })()`);
        if (inSight < all) narrow.push(`${name} at ${width}: the link of the view is out of sight`);
        if (width === 390 && name === 'runs') {
          const heads = await page.getByRole('columnheader').allTextContents();
          expect(heads.map((head) => head.trim()).filter(Boolean)).toEqual(['Name', 'Perplexity', 'Parameters']);
          expect(await page.getByRole('search').count()).toBe(0); // the filters are folded
        }
        await shots(name, width);
      }
    }
    expect(narrow).toEqual([]);
    expect(complaints).toEqual([]);
  });

  test('a scan shows its frontier at its end, each size begins a launch by it, and the page lists what came of it', async () => {
    await page.setViewportSize({ width: 1280, height: 900 });
    const { runId: before } = await server.launch(ENDLESS);
    await server.until(before, ({ step }) => step > 0n);
    const { runId: scan } = await server.launch(TINY_SCAN, { name: 'layers' });
    await view(`/runs/${scan}`, 'The frontier comes at the end of a scan');
    expect(await page.getByRole('navigation', { name: 'Views of the run' }).getByRole('link').allTextContents()).toEqual([
      'Frontier',
      'Evaluations and engine',
      'Family',
      'History',
      'Settings',
    ]);
    await unary<v1.CancelRunResponse>((done) => server.runs.cancelRun({ runId: before, reason: '' }, done));
    await server.completed(scan);
    const table = page.getByRole('region', { name: 'Frontier', exact: true }).first();
    await table.getByRole('row').nth(2).waitFor();
    const { points, intactParameters } = await unary<v1.QueryFrontierResponse>((done) =>
      server.runs.queryFrontier(v1.QueryFrontierRequest.fromPartial({ runId: scan }), done),
    );
    const rows = await table.getByRole('row').all();
    const shown = await Promise.all(rows.slice(1).map((row) => row.getByRole('cell').allTextContents()));
    expect(shown.length).toBe(points.length);
    for (const [index, { parameters, sparsity, multiplyAddShare, kl }] of points.entries()) {
      const values = [Number(parameters), Number(parameters) / Number(intactParameters), sparsity, multiplyAddShare];
      for (const [cell, value] of [...values.entries(), [5, kl] as const])
        expect([shown[index]![cell], value, isShownAs(shown[index]![cell]!, value)]).toEqual([shown[index]![cell], value, true]);
    }
    const drawn = (await csvOf('Lost at each size')).rows.map(([, parameters, lost]) => [parameters, lost]);
    expect(drawn.reverse()).toEqual(points.map(({ parameters, kl }) => [Number(parameters), kl]));
    expect(await barriersOfBothThemes('frontier')).toEqual([]);

    const smaller = points.find(({ sparsity }) => sparsity > 0.2)!;
    await rows[1 + points.indexOf(smaller)]!.getByRole('button').click();
    const dialog = page.getByRole('dialog', { name: 'Launch a run by layers' });
    expect(await dialog.getByRole('textbox', { name: /^Model / }).inputValue()).toBe(TINY_MODEL);
    expect(
      await dialog
        .getByLabel(/^preset/)
        .first()
        .inputValue(),
    ).toBe('fisher');
    await dialog.getByText('local-1').waitFor(); // the engine that the plan would take
    for (const [name, value] of [
      [/^recover steps/, '0'],
      [/^batch size/, '2'],
      [/^sequence length/, '32'],
    ] as const)
      await dialog.getByLabel(name).fill(value);
    await dialog.locator('summary', { hasText: 'All other settings' }).click();
    await dialog.getByLabel(/^calibration sequences/).fill('8');
    await dialog.getByRole('button', { name: 'Launch', exact: true }).click();
    await page.waitForURL(new RegExp(`/runs/(?!${scan})[a-z2-7]+$`));
    const chosen = await server.completed(new URL(page.url()).pathname.split('/')[2]!);
    expect(chosen.settings).toMatchObject({ library: scan, layerWidths: smaller.layerWidths });

    await view(`/runs/${scan}`, 'Runs with this scan');
    const made = page.getByRole('region', { name: 'Runs with this scan' }).first().getByRole('row').nth(1);
    expect(await made.getByRole('link').getAttribute('href')).toBe(`/runs/${chosen.runId}`);
    const cells = await made.getByRole('cell').allTextContents();
    expect(isShownAs(cells[2]!, Number(chosen.result!.parameterCount))).toBe(true);
    expect(isShownAs(cells[4]!, smaller.kl)).toBe(true);
    expect(isShownAs(cells[6]!, chosen.evaluations.find(({ headline }) => headline)!.perplexity)).toBe(true);
    await page.setViewportSize({ width: 390, height: 844 });
    await view(`/runs/${scan}`, 'Runs with this scan');
    expect(await page.evaluate<boolean>('document.documentElement.scrollWidth <= document.documentElement.clientWidth')).toBe(true);
    expect(await overprinted()).toEqual([]);
    expect(complaints).toEqual([]);
  });
});
