// The dashboard in Chromium in front of a real server.
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { chromium, type BrowserContext, type Page } from 'playwright-core';
import { loginLink } from '#local-access';
import { HANGS_AFTER_MS, TestServer, TINY_MODEL } from './server.js';

const PROGRAM = ['/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'].find((path) => existsSync(path));
const FLAGS = [
  ...['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run'],
  ...['--disable-background-networking', '--disable-component-update', '--disable-sync'],
];
/** Pictures of the views for a person's eye, in the folder dist. No test looks at them, and each costs as much as loading its page. */
const SCREENSHOTS = process.env['ESPALIER_SCREENSHOTS'] && fileURLToPath(new URL('../../../../screenshots', import.meta.url));
const CLI = fileURLToPath(new URL('../../../cli/src/espalier.js', import.meta.url));
const AXE = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');

export const describeInChromium = (name: string, tests: () => void): void =>
  (PROGRAM === undefined ? describe.skip : describe)(name, tests);

/** The name of a run that must stay text on the page. */
export const NAME = '<img src=x onerror="document.title=1"> & <b>bold</b>';

export class Dashboard {
  /** Errors that the browser itself reports of the page. */
  readonly complaints: string[] = [];
  browser!: BrowserContext;
  page!: Page;
  readonly profile = mkdtempSync(join(tmpdir(), 'espalier-chromium-'));

  constructor(readonly server = TestServer.inNewFolder()) {}

  /** Starts all, logs in, and returns the page. */
  async opened(): Promise<Page> {
    await this.start();
    await this.logIn();
    return this.page;
  }

  async start(): Promise<void> {
    const { server, complaints } = this;
    server.web = '127.0.0.1:0';
    server.options = ['--data-root', dirname(TINY_MODEL)];
    await server.start();
    server.web = server.webAddress.replace('http://', ''); // after a restart, too
    this.browser = await chromium.launchPersistentContext(this.profile, { executablePath: PROGRAM!, headless: true, args: FLAGS });
    this.page = this.browser.pages()[0] ?? (await this.browser.newPage());
    this.page.setDefaultTimeout(HANGS_AFTER_MS); // only ends a test that hangs; a slow machine is not a failure
    this.page.on('pageerror', (error) => complaints.push(error.message));
    this.page.on('console', (message) => {
      if (message.type() === 'error' && /Content Security Policy|is not/.test(message.text())) complaints.push(message.text());
    });
  }

  async end(): Promise<void> {
    await this.browser?.close();
    await this.server.dispose();
    rmSync(this.profile, { recursive: true, force: true });
  }

  async logIn(): Promise<void> {
    await this.page.goto(loginLink(this.server.webAddress, this.server.token));
  }

  /** Runs a command of the command line against the server, and returns what it prints as JSON. */
  readonly cli = (...words: string[]): unknown =>
    JSON.parse(execFileSync(process.execPath, [CLI, '--data-folder', this.server.dataFolder, '--json', ...words], { encoding: 'utf8' }));
  readonly text = (words: string | RegExp): Promise<void> => this.page.getByText(words).filter({ visible: true }).first().waitFor();
  readonly state = (word: string): Promise<void> => this.page.locator('.status', { hasText: word }).first().waitFor();
  readonly view = async (path: string, words: string | RegExp): Promise<void> => {
    await this.page.goto(this.server.webAddress + path);
    await this.text(words);
  };
  readonly shot = async (name: string, width = 1280): Promise<void> => {
    if (!SCREENSHOTS) return;
    mkdirSync(SCREENSHOTS, { recursive: true });
    const theme = await this.page.evaluate<string>('document.documentElement.dataset.theme');
    await this.page.screenshot({ path: join(SCREENSHOTS, `${name}-${width}-${theme}.png`) });
  };
  /** The barriers that axe finds by WCAG 2.2 AA and by its own best practice. */
  readonly barriers = (): Promise<string[]> => this.barriersBy(['wcag2a', 'wcag2aa', 'wcag21aa', 'wcag22aa', 'best-practice']);
  /** The numbers on the page that have more digits than a reader reads: nine or more that count. Code and stored texts are left out. */
  readonly longNumbers = async (): Promise<string[]> => {
    const texts = await this.page.evaluate<string[]>(`(() => {
      const all = [];
      const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
      while (walker.nextNode())
        if (walker.currentNode.parentElement.closest('code, pre, script, style') === null) all.push(walker.currentNode.data);
      for (const element of document.querySelectorAll('[title], [aria-label], [aria-valuetext]'))
        all.push(...['title', 'aria-label', 'aria-valuetext'].map((name) => element.getAttribute(name) ?? ''));
      return all;
    })()`);
    return texts.flatMap(longNumbersIn).map((number) => `a number of too many digits: ${number}`);
  };
  /** The labels of plots that are printed over one another. */
  readonly overprinted = (): Promise<string[]> =>
    this.page.evaluate<string[]>(`[...document.querySelectorAll('svg.scatter, svg.life')].flatMap((plot) => {
      const labels = [...plot.querySelectorAll('text')].map((one) => ({ words: one.textContent, box: one.getBoundingClientRect() }));
      const meet = (a, b) => a.left < b.right - 1 && b.left < a.right - 1 && a.top < b.bottom - 4 && b.top < a.bottom - 4;
      const over = (a, others) => others.filter((b) => meet(a.box, b.box)).map((b) => a.words + ' over ' + b.words);
      return labels.flatMap((a, index) => over(a, labels.slice(index + 1)));
    })`);
  /**
   * The same barriers in both themes, and numbers of too many digits. Themes differ only in colours, so the second one is only asked for
   * these.
   */
  readonly barriersOfBothThemes = async (picture: string): Promise<string[]> => {
    const found = [...(await this.barriers()), ...(await this.longNumbers())];
    await this.shot(picture);
    await this.theme('dark');
    found.push(...(await this.barriersBy(['color-contrast', 'link-in-text-block'])));
    await this.shot(picture);
    await this.theme('light');
    return found;
  };
  /** Changes the theme by the page's own button, also where a dialog covers it. */
  readonly theme = async (wanted: 'light' | 'dark'): Promise<void> => {
    await this.page.evaluate(`if (document.documentElement.dataset.theme !== '${wanted}')
      document.querySelector('button[aria-label^="Change to the"]').click()`);
    await this.page.locator(`html[data-theme=${wanted}]`).waitFor({ state: 'attached' });
  };
  /** Pictures of a view in both themes. */
  readonly shots = async (name: string, width: number): Promise<void> => {
    if (!SCREENSHOTS) return;
    for (const theme of ['light', 'dark'] as const) {
      await this.theme(theme);
      await this.shot(name, width);
    }
    await this.theme('light');
  };

  /** @param rules names of axe's rules, or of groups of them */
  private async barriersBy(rules: string[]): Promise<string[]> {
    await this.page.evaluate(AXE);
    const found = await this.page.evaluate<string[]>(
      `axe.run(document, { runOnly: ${JSON.stringify(rules)} }).then(({ violations }) => ` +
        'violations.map(({ id, nodes }) => `${id}: ${nodes[0].html.slice(0, 160)} ${nodes[0].failureSummary}`))',
    );
    return found;
  }
}

const MOST_DIGITS = 8;
/** A number that stands alone: no part of a word, an address, a version or a time. */
const NUMBER = /(?<![\w.:/#])\d[\d\u202f]*(?:\.\d+)?(?:e-?\d+)?(?![\w:/]|\.\d)/g;

export function longNumbersIn(text: string): string[] {
  return (text.match(NUMBER) ?? []).filter((number) => {
    const digits = number.replace(/e.*$/, '').replace(/[^\d]/g, '').replace(/^0+/, '');
    return (number.includes('.') ? digits : digits.replace(/0+$/, '')).length > MOST_DIGITS;
  });
}
