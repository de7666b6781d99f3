// Makes the pictures of README.md and docs/dashboard.md from real runs: a server in a folder of its own prunes the bundled model, and
// Chromium takes a screenshot of each view. `npm run pictures` writes docs/pictures. It takes about six minutes on two cores. `node
// scripts/pictures.mjs DATA-FOLDER RUN [NAMES]` takes the pictures, or only the named ones, of a run and the list on a running server.
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { chromium } from 'playwright-core';

const ROOT = fileURLToPath(new URL('..', import.meta.url));
const PICTURES = join(ROOT, 'docs/pictures');
const CLI = join(ROOT, 'dist/apps/cli/src/espalier.js');
/** The largest picture in bytes. README.md is read over networks, and its pictures must load as fast as its text. */
const LARGEST = 200_000;
const BROWSERS = ['/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'];
const DATA = join(ROOT, 'examples/data/factbook');

const [servedFolder, servedRun, names] = process.argv.slice(2);
const folder = mkdtempSync(join(tmpdir(), 'espalier-pictures-'));
const dataFolder = servedFolder ?? join(folder, 'data');
const espalier = (...words) => execFileSync(process.execPath, [CLI, '--data-folder', dataFolder, ...words], { encoding: 'utf8' });

/** Recipes that prune at once, in seconds. With them the list has something to compare. */
const AT_ONCE = ['wanda', 'taylor', 'magnitude'].flatMap((recipe) =>
  ['0.2', '0.3', '0.4', '0.5'].map((sparsity) => ({ recipe, sparsity })),
);

/** Each picture: the view of the run, or an address; the words that it shows once it is drawn; the element at its top; its height. */
const views = [
  { name: 'run', path: '', words: 'Loss', top: 'body', height: 1180 },
  { name: 'masks', path: '/masks', words: 'Attention heads', top: 'nav.tabs', height: 375 },
  { name: 'ladder', path: '/ladder', words: 'Perplexity against size', top: '.card:has-text("Perplexity against size")', height: 560 },
  { name: 'scatter', address: '/?plot=scatter', words: 'each point is a run', top: 'body', height: 872 },
];
const WINDOW = { width: 1200, height: 1600 };
/** The time in which charts are drawn after their words appear. */
const DRAWN_MS = 2_000;

async function takePictures(runId) {
  const executablePath = BROWSERS.find((path) => existsSync(path));
  if (executablePath === undefined) throw new Error(`the pictures need a browser; none of these is there: ${BROWSERS.join(', ')}`);
  const browser = await chromium.launchPersistentContext(join(folder, 'profile'), {
    executablePath,
    headless: true,
    args: ['--no-sandbox', '--disable-gpu', '--no-first-run', '--disable-background-networking'],
  });
  try {
    const page = browser.pages()[0] ?? (await browser.newPage());
    const link = espalier('open', '--print', runId).match(/https?:\/\/\S+/)[0];
    await page.goto(link);
    await page.setViewportSize(WINDOW);
    for (const { name, path, address = `/runs/${runId}${path}`, words, top, height } of views) {
      if (names?.split(',').includes(name) === false) continue;
      await page.goto(new URL(address, link).href);
      await page.getByText(words).first().waitFor();
      for (const colorScheme of ['light', 'dark']) {
        await page.emulateMedia({ colorScheme, reducedMotion: 'reduce' });
        await page.waitForTimeout(DRAWN_MS);
        const { y } = await page.locator(top).first().boundingBox();
        const file = join(PICTURES, `${name}-${colorScheme}.png`);
        await page.screenshot({ path: file, clip: { x: 0, y, width: WINDOW.width, height } });
        const { size } = statSync(file);
        console.log(`${file}: ${Math.round(size / 1000)} kB`);
        if (size > LARGEST) throw new Error(`${file} has ${size} bytes; at most ${LARGEST} are allowed`);
      }
    }
  } finally {
    await browser.close();
  }
}

function launched(name, sparsity, ...more) {
  const said = espalier(
    ...['--json', 'launch', '--model', join(ROOT, 'examples/models/factbook-llama-3m'), '--name', name],
    ...['--data', join(DATA, 'train.jsonl'), '--validation', join(DATA, 'validation.jsonl'), '--target-sparsity', sparsity, ...more],
  );
  const { run_id: runId } = JSON.parse(said);
  espalier('watch', runId);
  return runId;
}

function launchedRuns() {
  for (const { recipe, sparsity } of AT_ONCE) launched(`${recipe} ${sparsity}`, sparsity, '--recipe', recipe);
  return launched('half the factbook', '0.5');
}

mkdirSync(PICTURES, { recursive: true });
try {
  if (servedFolder === undefined) espalier('up', '--detach', '--listen', '127.0.0.1:0', '--web', '127.0.0.1:0');
  const runId = servedRun ?? launchedRuns();
  // These are the rungs of the ladder.
  if (names === undefined) espalier('eval', runId, '--last', '--teacher', '5,10,15,20,25,30,35,40,45,48');
  await takePictures(runId);
} finally {
  if (servedFolder === undefined) espalier('down');
  rmSync(folder, { recursive: true, force: true });
}
