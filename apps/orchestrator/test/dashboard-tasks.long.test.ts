// Does the tasks of docs/dashboard.md's table in the browser, and counts the clicks of each. A click, a drag, a choice from a list and a
// typed text, with the Enter that ends it, count as one each. A reader who only points at something makes no click.
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import type { Locator, Page } from 'playwright-core';
import { Dashboard, describeInChromium } from './harness/dashboard.js';

const DOCS = readFileSync(fileURLToPath(new URL('../../../../docs/dashboard.md', import.meta.url)), 'utf8');
const ROWS = [...DOCS.matchAll(/^\| (\d+) \| ([^|]+) \| (\d+) \|/gm)].map(([, number, words, clicks]) => {
  return { number: Number(number), words: words!.trim(), clicks: Number(clicks) };
});
const WINDOW = { width: 1440, height: 900 };

/** A reader's hand, which counts what it does. */
class Hand {
  clicks = 0;

  constructor(readonly page: Page) {}

  async click(where: Locator): Promise<void> {
    this.clicks += 1;
    await where.click();
  }

  button(name: string | RegExp): Promise<void> {
    return this.click(this.page.getByRole('button', { name, exact: true }).first());
  }

  link(name: string): Promise<void> {
    return this.click(this.page.getByRole('link', { name, exact: true }).first());
  }

  unfold(words: string): Promise<void> {
    return this.click(this.page.locator('summary', { hasText: words }).first());
  }

  async choose(label: string, value: string): Promise<void> {
    this.clicks += 1;
    await this.page.getByRole('combobox', { name: label, exact: true }).selectOption(value);
  }

  async type(where: Locator, text: string): Promise<void> {
    this.clicks += 1;
    await where.fill(text);
  }

  /** Types where the page has put the focus, and ends with Enter. */
  async typeAtFocus(where: Locator, text: string): Promise<void> {
    this.clicks += 1;
    await where.and(this.page.locator(':focus')).waitFor();
    await this.page.keyboard.type(text);
    await this.page.keyboard.press('Enter');
  }

  async drag(where: Locator): Promise<void> {
    this.clicks += 1;
    const box = (await where.boundingBox())!;
    // The whole drawing: an area without a run would leave nothing to see.
    await this.page.mouse.move(box.x + box.width * 0.02, box.y + box.height * 0.02);
    await this.page.mouse.down();
    await this.page.mouse.move(box.x + box.width * 0.98, box.y + box.height * 0.98, { steps: 5 });
    await this.page.mouse.up();
  }
}

type Task = (hand: Hand) => Promise<unknown>;
const seen = (hand: Hand, words: string | RegExp): Promise<void> => hand.page.getByText(words).filter({ visible: true }).first().waitFor();
const chart = (hand: Hand, title: string): Locator => hand.page.getByRole('region', { name: title, exact: true });
const downloaded = async (hand: Hand, name: string): Promise<void> => {
  const file = hand.page.waitForEvent('download');
  await hand.button(name);
  await (await file).path();
};

/** The tasks of the list, in the order of the table. */
const IN_THE_LIST: Task[] = [
  (hand) => hand.type(hand.page.getByLabel('Name contains'), 'second').then(() => seen(hand, '1 found')),
  (hand) => hand.choose('Status', 'completed').then(() => seen(hand, '2 found')),
  (hand) => hand.type(hand.page.getByLabel('Where'), 'perplexity>1').then(() => seen(hand, '2 found')),
  (hand) => hand.button(/^Perplexity/).then(() => hand.page.locator('[aria-sort]', { hasText: 'Perplexity' }).waitFor()),
  async (hand) => {
    await hand.unfold('Columns');
    await hand.click(hand.page.getByLabel('Lora learning rate', { exact: true }));
    await hand.page.getByRole('columnheader', { name: 'Lora learning rate' }).waitFor();
  },
  (hand) => hand.choose('Group by', 'recipe').then(() => seen(hand, '1 group of 2 runs')),
  (hand) => hand.choose('Group by', 'seed').then(() => hand.page.getByRole('columnheader', { name: 'Best run' }).waitFor()),
  async (hand) => {
    for (const box of await hand.page.getByRole('checkbox', { name: /^Choose (first|second)$/ }).all()) await hand.click(box);
    await hand.button(/^Compare 2/);
    await seen(hand, 'baseline');
  },
  async (hand) => {
    await hand.choose('Group by', 'recipe');
    await hand.choose('Show', 'curves');
    await chart(hand, 'Mean of loss').waitFor();
  },
  (hand) => hand.choose('Show', 'scatter').then(() => chart(hand, 'perplexity against parameters left').waitFor()),
  async (hand) => {
    await hand.choose('Show', 'scatter');
    await hand.choose('Across', 'target_sparsity');
    await chart(hand, 'perplexity against target sparsity').waitFor();
  },
  (hand) => hand.choose('Show', 'parallel').then(() => hand.page.locator('.run-line').first().waitFor({ state: 'attached' })),
  async (hand) => {
    await hand.choose('Show', 'scatter');
    await hand.drag(hand.page.locator('.scatter .brush'));
    await seen(hand, 'Without these bounds');
  },
  async (hand) => {
    await hand.unfold('Views');
    await hand.typeAtFocus(hand.page.getByLabel('Name of this view'), 'mine');
    await hand.page.getByRole('link', { name: 'mine' }).waitFor();
  },
  async (hand) => {
    await hand.page.getByLabel('Name contains').fill('second'); // the view that is shared
    await hand.page.waitForURL('**/?q=second');
  },
  (hand) => hand.link('first').then(() => chart(hand, 'Loss').waitFor()),
];

/** The tasks on the page of a run. */
const ON_A_RUN: Task[] = [
  (hand) => hand.drag(chart(hand, 'Loss').locator('.u-over')).then(() => seen(hand, 'All steps')),
  (hand) => hand.choose('X axis', 'tokens').then(() => hand.page.waitForURL('**x=tokens**')),
  (hand) => hand.choose('X axis', 'hard_sparsity').then(() => hand.page.waitForURL('**x=hard_sparsity**')),
  (hand) => hand.button('Logarithmic axis of Loss').then(() => hand.page.waitForURL('**log=Loss**')),
  (hand) => hand.type(hand.page.getByLabel('Smoothing'), '4').then(() => hand.page.waitForURL('**smooth=20**')),
  (hand) => downloaded(hand, 'CSV of Loss'),
  (hand) => downloaded(hand, 'PNG of Loss'),
  (hand) => hand.button('Full screen of Loss').then(() => hand.page.waitForFunction('document.fullscreenElement !== null')),
  (hand) =>
    hand.page
      .getByRole('slider', { name: 'Step' })
      .hover()
      .then(() => seen(hand, /teacher/)),
  async (hand) => {
    await hand.unfold('Your charts');
    await hand.choose('Draw', 'gradient_norm');
    await hand.choose('over', 'loss');
    await hand.button('Add this chart');
    await chart(hand, 'Gradient norm over loss, nats').waitFor();
  },
  (hand) => hand.link('Teachers').then(() => seen(hand, 'Teacher of steps')),
  (hand) => hand.link('Masks').then(() => seen(hand, 'Attention heads')),
  (hand) => hand.link('Ladder').then(() => seen(hand, 'Parameters left')),
  async (hand) => {
    await seen(hand, 'lora_learning_rate');
    const { y } = (await hand.page.getByText('lora_learning_rate').boundingBox())!;
    expect(y).toBeLessThan(WINDOW.height); // a reader need not scroll either
  },
  (hand) => hand.link('History').then(() => seen(hand, 'RunCompleted')),
  (hand) => hand.link('Family').then(() => seen(hand, 'nothing was forked from it yet')),
  async (hand) => {
    await hand.button('not checked');
    await hand.button('Check now');
    await seen(hand, /Everything holds/);
  },
  async (hand) => {
    await hand.link('Evaluations and engine');
    await hand.button('Evaluate');
    await hand.click(hand.page.getByRole('dialog').getByRole('button', { name: 'Evaluate', exact: true }));
    await hand.page.getByRole('region', { name: 'Jobs' }).waitFor();
  },
  (hand) => hand.link('Server').then(() => chart(hand, 'Disk').waitFor()),
];

describeInChromium('the tasks of a person who reads experiments', () => {
  const dashboard = new Dashboard();
  let page: Page;
  let runId: string;

  beforeAll(async () => {
    page = await dashboard.opened();
    await page.setViewportSize(WINDOW);
    for (const [name, seed] of [
      ['first', '1'],
      ['second', '2'],
    ] as const) {
      const launched = await dashboard.server.launch({ totalSteps: 60, seed: BigInt(seed) }, { name });
      runId ??= launched.runId;
      await dashboard.server.completed(launched.runId);
    }
  });
  afterAll(() => dashboard.end());

  test('the table has a row for each of them', () =>
    expect(ROWS.map(({ number }) => number)).toEqual([...IN_THE_LIST, ...ON_A_RUN].map((_, at) => at + 1)));

  test.each(ROWS)('$number $words: $clicks clicks', async ({ number, clicks }) => {
    const task = [...IN_THE_LIST, ...ON_A_RUN][number - 1]!;
    await (number <= IN_THE_LIST.length ? dashboard.view('/', 'in all') : dashboard.view(`/runs/${runId}`, 'Gradient norm'));
    await page.evaluate('localStorage.clear()');
    await page.reload();
    await dashboard.text(number <= IN_THE_LIST.length ? 'second' : 'Gradient norm');
    const hand = new Hand(page);
    await task(hand);
    expect(hand.clicks).toBe(clicks);
  });
});
