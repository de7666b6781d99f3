// Tests that what the dashboard shows is true: Chromium in front of a real server, with runs that train, wait and end. Skipped where there
// is no Chromium.
import { readFile } from 'node:fs/promises';
import type { Page } from 'playwright-core';
import { v1 } from '#protocol';
import { Dashboard, describeInChromium } from './harness/dashboard.js';
import { ENDLESS, unary } from './harness/server.js';

describeInChromium('what the dashboard shows is true', () => {
  const dashboard = new Dashboard();
  const { server, text, view, shot, barriersOfBothThemes } = dashboard;
  const chart = (title: string) => page.getByRole('region', { name: title, exact: true });
  const legend = (title: string) => chart(title).locator('.legend');
  const stepSlider = () => page.locator('.readout input[type=range]');
  let page: Page;
  let runId: string;

  beforeAll(async () => {
    await dashboard.start();
    ({ page } = dashboard);
    await dashboard.logIn();
    ({ runId } = await server.launch({ totalSteps: 60, recoverSteps: 40, recoverLmLossWeight: 1 }, { name: 'whole' }));
    await server.completed(runId);
  });
  afterAll(() => dashboard.end());

  test('smoothing changes neither values nor files, nor any sparsity; the line of the values stays, pale', async () => {
    await view(`/runs/${runId}`, 'Gradient norm');
    const before = [await legend('Loss').innerText(), await legend('Sparsity').innerText()];
    await page.getByRole('slider', { name: 'Smoothing' }).fill('4');
    await legend('Loss').getByText('strong lines: smoothed over 20 steps').waitFor();
    expect((await legend('Loss').innerText()).startsWith(before[0]!.trim())).toBe(true);
    expect(await legend('Sparsity').innerText()).toBe(before[1]);
    await page.evaluate('delete window.showSaveFilePicker; undefined');
    const csv = async (title: string): Promise<number[][]> => {
      const downloaded = page.waitForEvent('download');
      await page.getByRole('button', { name: `CSV of ${title}`, exact: true }).click();
      const lines = (await readFile(await (await downloaded).path(), 'utf8')).trim().split('\r\n').slice(1);
      return lines.map((line) => line.split(',').map(Number));
    };
    const recorded = await unary<v1.QueryMetricsResponse>((done) =>
      server.history.queryMetrics(v1.QueryMetricsRequest.fromPartial({ runId, maxPoints: 1_000 }), done),
    );
    expect((await csv('Loss')).map(([step, loss]) => [step, loss])).toEqual(recorded.steps.map(({ step, loss }) => [Number(step), loss]));
    expect((await csv('Sparsity')).map(([step, expected]) => [step, expected])).toEqual(
      recorded.steps.map(({ step, expectedSparsity }) => [Number(step), expectedSparsity]),
    );
    expect(await barriersOfBothThemes('smoothed')).toEqual([]);
    await view('/', 'in all'); // another view of the run is not smoothed
    await page.getByRole('link', { name: 'whole' }).click();
    await text('Gradient norm');
    expect(new URL(page.url()).search).not.toContain('smooth');
  });

  test('a legend has one step, and a value of another step says of which', async () => {
    await view(`/runs/${runId}`, 'Gradient norm');
    await legend('Loss').getByText('at 99', { exact: true }).waitFor();
    await stepSlider().fill('37');
    await legend('Sparsity').getByText('at 37', { exact: true }).waitFor();
    await legend('Sparsity')
      .getByText(/^hard .* at \d+$/)
      .waitFor(); // recorded states alone have it
  });

  test('the gates of a layer lie on an axis of steps', async () => {
    await view(`/runs/${runId}/masks?layer=0`, 'half dark');
    const map = page.locator('canvas.over-time').first();
    expect(await map.getAttribute('width')).toBe('100'); // steps, and not recorded states
    await map.hover({ position: { x: 5, y: 5 } });
    await page.getByText(/^head 0 (at step|between the states of steps) /).waitFor();
    expect(await barriersOfBothThemes('layer')).toEqual([]);
  });

  test('runs of one seed are no better or worse than one another, and a fork is no further seed', async () => {
    const { run: fork } = await unary<v1.ForkRunResponse>((done) =>
      server.runs.forkRun(
        v1.ForkRunRequest.fromPartial({
          parentRunId: runId,
          from: { $case: 'teacherMark', value: 3 },
          name: 'fork',
          settings: { seed: 9n },
        }),
        done,
      ),
    );
    await server.completed(fork!.runId);
    await view(`/compare?runs=${runId},${fork!.runId}&seeds=together`, 'Only perplexity makes a run better');
    const row = page.getByRole('row', { name: /^perplexity / });
    await row.getByText(/, one seed$/).waitFor();
    expect(await page.locator('.against:is(.better, .worse)').count()).toBe(0);
    expect(await page.getByText('(2 seeds)').count()).toBe(0);
    expect(await barriersOfBothThemes('compare-fork')).toEqual([]);
  });

  test('a live curve keeps up with the header; a queued run says what it waits for; rows of another filter are dimmed', async () => {
    const { runId: long } = await server.launch({ ...ENDLESS, segmentSteps: 5_000 }, { name: 'long' });
    await view(`/runs/${long}`, 'Gradient norm');
    const first = Number(await stepSlider().inputValue());
    while (Number(await stepSlider().inputValue()) < first + 50) await page.waitForTimeout(200);
    expect((await server.run(long)).step).toBe(0n); // nothing of it is recorded yet
    const { runId: queued } = await server.launch({ totalSteps: 10 }, { name: 'queued' });
    const { queuedFor } = await server.until(queued, (run) => run.queuedFor !== '');
    expect(queuedFor).toBe(`an engine that is free: local-1 works for run ${long}`);
    await view(`/runs/${queued}`, `It waits for ${queuedFor}.`);
    await shot('queued');
  });

  test('a killed server is named once, what it said before is dimmed, and no error stays when it is back', async () => {
    const [{ runId: long }] = (
      await unary<v1.ListRunsResponse>((done) => server.runs.listRuns(v1.ListRunsRequest.fromPartial({ nameContains: 'long' }), done))
    ).runs as [v1.Run];
    await view(`/runs/${long}`, 'Gradient norm');
    await server.kill();
    await text('server away, trying again');
    await page.locator('main.old').waitFor();
    await page.waitForTimeout(2_500); // several loads have failed meanwhile
    await shot('away');
    expect(await page.locator('.trouble').count()).toBe(0);
    expect(await page.getByText('UNKNOWN').count()).toBe(0);
    await server.orphansGone();
    await server.start();
    await text('live');
    await page.locator('main:not(.old)').waitFor();
    await page.locator('.trouble').first().waitFor({ state: 'detached' });
    expect(dashboard.complaints).toEqual([]);
  });
});
