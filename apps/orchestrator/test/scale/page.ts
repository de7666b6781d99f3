// Measures the dashboard's list on a data folder with many runs (npm run scale), in Chromium:
//   npm run scale-page -- FOLDER [--times 10]
// A first row counts from the moment at which the address is opened, and a filter from the last letter that is typed; both count until the
// rows are painted. Prints JSON, and the processor's seconds that the server used for each.
import { rmSync } from 'node:fs';
import { cpus, loadavg } from 'node:os';
import { resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { Dashboard } from '../harness/dashboard.js';
import { TestServer } from '../harness/server.js';
import { inWords, processorSeconds } from './figures.js';

const { values, positionals } = parseArgs({ allowPositionals: true, options: { times: { type: 'string', default: '10' } } });
const [folder] = positionals;
if (folder === undefined) throw new Error('name the folder to measure: npm run scale-page -- FOLDER');
const times = Number(values.times);

/** Resolves with the time of the page at which a condition holds and is painted. */
const PAINTED = `(holds) => new Promise((resolve) => {
  const look = () => (holds() ? requestAnimationFrame(() => setTimeout(() => resolve(performance.now()))) : requestAnimationFrame(look));
  look();
})`;
const FILTER = `(text, found) => {
  const field = document.querySelector('input[type=search]');
  const from = performance.now();
  field.value = text;
  field.dispatchEvent(new Event('input', { bubbles: true }));
  const isShown = () => {
    const [first] = document.querySelectorAll('.grid-table:not(.old) .row .name');
    return found.test(document.querySelector('.bar .num').textContent) && first?.textContent.includes(text);
  };
  return (${PAINTED})(isShown).then((at) => at - from);
}`;
/** Each view of the list, and what is painted once it is there. */
const VIEWS = {
  list: ['/', "document.querySelector('.grid-table .row .name a')"],
  scatter: ['/?plot=scatter', "document.querySelector('.scatter a')"],
  parallel: ['/?plot=parallel', "document.querySelector('.run-line')"],
  groups: ['/?group=recipe', "document.querySelector('.groups tbody tr')"],
} as const;

const server = new TestServer(resolve(folder));
const dashboard = new Dashboard(server);
await dashboard.start();
try {
  await dashboard.logIn();
  await dashboard.view('/', 'in all');
  const { page } = dashboard;
  const measured = async (work: () => Promise<number>): Promise<object> => {
    const found: number[] = [];
    const before = processorSeconds(server.pid);
    for (let time = 0; time < times; time += 1) found.push(await work());
    return { ...inWords(found), processor_s: Math.round(((processorSeconds(server.pid) - before) / times) * 100) / 100 };
  };
  const result: Record<string, unknown> = { processors: cpus().length, load: loadavg()[0] };
  for (const [name, [path, shown]] of Object.entries(VIEWS))
    result[name] = await measured(async () => {
      await page.goto('about:blank');
      await page.goto(server.webAddress + path, { waitUntil: 'commit' });
      return page.evaluate<number>(`(${PAINTED})(() => ${shown})`);
    });
  const filters = ['gentle 1', 'sweep', '77', 'paper 1', 'nightly'];
  let asked = 0;
  await dashboard.view('/', 'in all');
  result['filter'] = await measured(() => {
    asked += 1;
    return page.evaluate<number>(`(${FILTER})(${JSON.stringify(filters[asked % filters.length])}, /found/)`);
  });
  console.log(JSON.stringify(result, null, 2));
} finally {
  await dashboard.browser.close();
  await server.stop();
  rmSync(dashboard.profile, { recursive: true, force: true });
}
