#!/usr/bin/env node
// Does the sum of a scan's scores tell which whole choice of layers loses less? (docs/scan.md, docs/recipes.md)
//   truth.mjs choices SCAN --parameters N [--count 50] [--seed 1] > study.yaml
//       prints random choices of that size, as a study whose runs train nothing
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
    seed: { type: 'string', default: '1' },
    named: { type: 'string', default: '' },
  },
});
const [command, scan] = positionals;
if (command === 'choices' && scan !== undefined && Number(values.parameters) > 0) printChoices();
else if (command === 'correlation' && scan !== undefined) printCorrelation();
else throw new Error('usage: truth.mjs choices SCAN --parameters N [--count 50] [--seed 1] | truth.mjs correlation SCAN [--named TEXT]');

/** Prints a study of random choices: a random attention or MLP becomes one form narrower, until the size is reached. */
function printChoices() {
  const run = espalier('show', scan);
  const blocks = espalier('history', scan)
    .events.filter(({ type }) => type === 'LayerScanned')
    .map(({ data_json }) => JSON.parse(data_json))
    .flatMap(({ layer, forms }) =>
      [true, false].map((attention) => ({
        layer,
        attention,
        widths: [
          run.layers[layer][attention ? 'heads' : 'units'],
          ...forms.filter((form) => form.attention === attention).map(({ kept }) => kept),
        ].sort((left, right) => right - left),
      })),
    );
  const { points } = espalier('frontier', scan, '--shares', '1');
  const each = sizesOfParts(points[0]);
  const random = generator(Number(values.seed));
  const choice = () => {
    const at = blocks.map(() => 0);
    let parameters = Number(points[0].parameters);
    while (parameters > Number(values.parameters)) {
      const index = Math.floor(random() * blocks.length);
      const { attention, widths } = blocks[index];
      if (at[index] === widths.length - 1) continue;
      parameters -= (widths[at[index]] - widths[at[index] + 1]) * each[attention ? 'heads' : 'units'];
      at[index] += 1;
    }
    const kept = run.layers.map(() => ({}));
    for (const [index, { layer, attention, widths }] of blocks.entries()) kept[layer][attention ? 'heads' : 'units'] = widths[at[index]];
    return kept.map(({ heads, units }) => `${heads}/${units}`).join(',');
  };
  const data = run.data;
  const lines = [
    `name: random choices of ${run.name || run.run_id} at ${values.parameters}, seed ${values.seed}`,
    `model: ${JSON.stringify(run.model_path)}`,
    `data: ${JSON.stringify(data.train_path)}`,
    `validation: ${JSON.stringify(data.validation_path)}`,
    `settings: {preset: fisher, library: ${run.run_id}, recover_steps: 0, evaluation_window: 512, evaluation_tokens: 12288}`,
    'runs:',
    ...Array.from(
      { length: Number(values.count) },
      (_, index) => `  - {name: random ${index + 1}, settings: {layer_widths: "${choice()}"}}`,
    ),
  ];
  console.log(lines.join('\n'));
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
