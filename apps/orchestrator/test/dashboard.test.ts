// Tests the first steps of a person on the dashboard: Chromium in front of a real server. Skipped where there is no Chromium. All views and
// forms are in dashboard.long.test.ts.
import type { Page } from 'playwright-core';
import { Dashboard, describeInChromium, NAME } from './harness/dashboard.js';

describeInChromium('the dashboard', () => {
  const dashboard = new Dashboard();
  const { server, text, state, view, shot, barriers } = dashboard;
  let page: Page;

  beforeAll(async () => {
    await dashboard.start();
    ({ page } = dashboard);
  });
  afterAll(() => dashboard.end());

  test('without a login it says how to get one; the link lets the browser in, and no run yet says what to do', async () => {
    await view('/', 'This browser is not logged in');
    expect(await barriers()).toEqual([]);
    await shot('logged-out');
    await dashboard.logIn();
    await text('No runs yet');
    await text('live');
    expect(await barriers()).toEqual([]);
    await shot('empty');
  });

  test('a run that is launched appears by itself, goes on before the eyes, and its name stays text', async () => {
    const { runId } = await server.launch({ totalSteps: 150 }, { name: NAME, tags: ['trial'] });
    await page.getByRole('link', { name: NAME }).click();
    await page.waitForURL(`**/runs/${runId}`);
    await state('completed'); // without a reload
    await page.getByText('Perplexity', { exact: true }).waitFor();
    await text('Hard sparsity');
    expect(await page.locator('h1').textContent()).toBe(NAME);
    expect(await page.locator('main img').count()).toBe(0);
    expect(await page.title()).toContain('<img');
    expect(dashboard.complaints).toEqual([]);
  });
});
