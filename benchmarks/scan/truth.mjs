#!/usr/bin/env node
// Does the sum of a scan's scores tell which whole choice of layers loses less? (docs/scan.md, docs/recipes.md)
//   truth.mjs choices SCAN --parameters N [--count 50] [--exchanges 60] [--seed 1] > study.yaml
//       prints choices of that size near and far from the best one, as a study whose runs train nothing
//   truth.mjs correlation SCAN [--named TEXT]
//       prints the rank correlation of the sums with the perplexities of those runs whose names begin with TEXT
// The server is the one that the command line finds. SCAN is a run of recipe scan.
import { execFileSync } from 'node:child_process';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

const program = join(dirname(fileURLToPath(import.meta.url)), '../../dist/apps/cli/src/espalier.js');
const espalier = (...args) =>
  JSON.parse(execFileSync(process.execPath, [program, ...args, '--json'], { encoding: 'utf8', maxBuffer: 1 << 30 }));

const { positionals, values } = parseArgs({
  allowPositionals: true,
  options: {
    parameters: { type: 'string' },
    count: { type: 'string', default: '50' },
    exchanges: { type: 'string', default: '60' },
    seed: { type: 'string', default: '1' },
    named: { type: 'string', default: '' },
  },
});
const [command, scan] = positionals;
if (command === 'choices' && scan !== undefined && Number(values.parameters) > 0) printChoices();
else if (command === 'correlation' && scan !== undefined) printCorrelation();
else
  throw new Error(
    'usage: truth.mjs choices SCAN --parameters N [--count 50] [--exchanges 60] [--seed 1] | truth.mjs correlation SCAN [--named TEXT]',
  );

/**
 * Prints a study of choices of one size. Each is the best choice after some random exchanges, from 1 to `--exchanges`: an attention or MLP
 * becomes one form narrower, and others wider again while the size allows it.
 */
function printChoices() {
  const run = espalier('show', scan);
  const blocks = espalier('history', scan)
    .events.filter(({ type }) => type === 'LayerScanned')
    .map(({ data_json }) => JSON.parse(data_json))
    .flatMap(({ layer, forms }) =>
      ['heads', 'units'].map((part) => {
        const narrower = forms.filter(({ attention }) => attention === (part === 'heads')).map(({ kept }) => kept);
        return { layer, part, widths: [run.layers[layer][part], ...narrower].sort((left, right) => right - left) };
      }),
    );
  const [intact] = espalier('frontier', scan, '--shares', '1').points;
  const each = sizesOfParts(intact);
  const most = Number(values.parameters);
  const [best] = espalier('frontier', scan, '--shares', String(most / Number(intact.parameters))).points;
  const random = generator(Number(values.seed));
  const sizeOf = ({ part, widths }, at) => widths[at] * each[part];
  const choice = (exchanges) => {
    const kept = best.layer_widths.split(',').map((layer) => layer.split('/').map(Number));
    const at = blocks.map(({ layer, part, widths }) => widths.indexOf(kept[layer][part === 'heads' ? 0 : 1]));
    let room = most - Number(best.parameters);
    for (let done = 0; done < exchanges;) {
      const index = Math.floor(random() * blocks.length);
      if (at[index] === blocks[index].widths.length - 1) continue;
      room += sizeOf(blocks[index], at[index]) - sizeOf(blocks[index], at[index] + 1);
      at[index] += 1;
      done += 1;
      for (const other of shuffled(blocks.keys(), random)) {
        const cost =
          at[other] === 0 || other === index ? Infinity : sizeOf(blocks[other], at[other] - 1) - sizeOf(blocks[other], at[other]);
        if (cost > room) continue;
        room -= cost;
        at[other] -= 1;
      }
    }
    const widths = run.layers.map(() => ({}));
    for (const [index, { layer, part, widths: all }] of blocks.entries()) widths[layer][part] = all[at[index]];
    return widths.map(({ heads, units }) => `${heads}/${units}`).join(',');
  };
  const count = Number(values.count);
  const exchanges = Array.from({ length: count }, (_, index) => Math.round(((index + 1) / count) * Number(values.exchanges)));
  console.log(
    [
      `name: choices of ${run.name || run.run_id} at ${values.parameters}, seed ${values.seed}`,
      `model: ${JSON.stringify(run.model_path)}`,
      `data: ${JSON.stringify(run.data.train_path)}`,
      `validation: ${JSON.stringify(run.data.validation_path)}`,
      `settings: {preset: fisher, library: ${run.run_id}, recover_steps: 0, evaluation_window: 512, evaluation_tokens: 12288}`,
      'runs:',
      `  - {name: best, settings: {layer_widths: "${best.layer_widths}"}}`,
      ...exchanges.map((number, index) => `  - {name: choice ${index + 1}, settings: {layer_widths: "${choice(Math.max(1, number))}"}}`),
    ].join('\n'),
  );
}

function shuffled(items, random) {
  return [...items]
    .map((item) => [random(), item])
    .sort(([left], [right]) => left - right)
    .map(([, item]) => item);
}

/** The parameters of a head with its share of keys and values, and of a unit, from two sizes that the server counts. */
function sizesOfParts({ layer_widths, parameters }) {
  const layers = layer_widths.split(',').map((layer) => layer.split('/').map(Number));
  const smaller = espalier('frontier', scan, '--shares', '0.95,0.9,0.85,0.8,0.75,0.7').points;
  const gone = smaller.map((point) => {
    const kept = point.layer_widths.split(',').map((layer) => layer.split('/').map(Number));
    const lost = (part) => kept.reduce((sum, layer, index) => sum + layers[index][part] - layer[part], 0);
    return { heads: lost(0), units: lost(1), parameters: Number(parameters) - Number(point.parameters) };
  });
  // Two unknowns, by least squares.
  const sum = (of) => gone.reduce((total, one) => total + of(one), 0);
  const [hh, hu, uu] = [sum((g) => g.heads ** 2), sum((g) => g.heads * g.units), sum((g) => g.units ** 2)];
  const [hp, up] = [sum((g) => g.heads * g.parameters), sum((g) => g.units * g.parameters)];
  const determinant = hh * uu - hu * hu;
  return { heads: (hp * uu - up * hu) / determinant, units: (up * hh - hp * hu) / determinant };
}

function printCorrelation() {
  const runs = espalier('frontier', scan, '--shares', '1')
    .runs.filter(({ run, kl }) => kl !== undefined && run.settings.recover_steps === 0 && run.name.startsWith(values.named))
    .map(({ run, kl }) => ({
      name: run.name || run.run_id,
      parameters: Number(run.result?.parameter_count),
      kl,
      loss: Math.log(run.evaluations.find(({ headline }) => headline)?.perplexity),
    }))
    .filter(({ loss }) => !Number.isNaN(loss));
  for (const { name, parameters, kl, loss } of runs)
    console.log(`${name}\t${parameters}\t${kl.toFixed(4)}\t${loss.toFixed(4)}\t${Math.exp(loss).toFixed(1)}`);
  const ranks = (of) => {
    const sorted = runs.map(of).sort((left, right) => left - right);
    return runs.map((run) => sorted.indexOf(of(run)));
  };
  const [predicted, measured] = [ranks(({ kl }) => kl), ranks(({ loss }) => loss)];
  const mean = (runs.length - 1) / 2;
  const covariance = (left, right) => left.reduce((sum, rank, index) => sum + (rank - mean) * (right[index] - mean), 0);
  const spearman = covariance(predicted, measured) / Math.sqrt(covariance(predicted, predicted) * covariance(measured, measured));
  console.log(`Spearman's rank correlation over ${runs.length} choices: ${spearman.toFixed(3)}`);
}

/** A small generator of numbers from 0 to 1 (mulberry32), so that a seed names the choices. */
function generator(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296;
  };
}
