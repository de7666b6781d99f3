// npm run recipes -- --help
//
// Trains the bundled model with each of the given settings, targets and seeds through the real processes, one run after another, and prints
// a table. Every second document of the validation text serves for choosing and the others for reporting, because a recipe that was chosen
// by its perplexity on a text looks better on that text than it is.
import { appendFileSync, existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { defaultPreset, v1 } from '#protocol';
import { collect, FACTBOOK_MODEL, TestServer, TRAINING_DATA, unary } from '../harness/server.js';
import { tableOf, type Trial } from './table.js';

const usage = `npm run recipes -- [options] [NAME=SETTINGS ...]

SETTINGS are those of a run as JSON, as in 'rank 64={"loraRank":64,"loraLearningRate":0.003}' or 'one teacher={"recipe":"RECIPE_DISTILL"}';
what they leave out is the preset's. Without any, the preset's alone.

  --preset NAME   default: that of a launch
  --targets LIST  target sparsities; default 0.2,0.5,0.7
  --seeds LIST    default 42,1,2
  --threads N     of the engine; default 2
  --out FILE      adds each trial to this file, a JSON object a line; what is there already is not trained again
  --help`;

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    preset: { type: 'string', default: defaultPreset() },
    targets: { type: 'string', default: '0.2,0.5,0.7' },
    seeds: { type: 'string', default: '42,1,2' },
    threads: { type: 'string', default: '2' },
    out: { type: 'string' },
    help: { type: 'boolean', short: 'h' },
  },
});
if (values.help) console.log(usage);
else await sweep();

async function sweep(): Promise<void> {
  const recipes = positionals.length === 0 ? [{ name: `preset ${values.preset}`, settings: {} }] : positionals.map(recipeOf);
  const { out } = values;
  const trials = out !== undefined && existsSync(out) ? trialsIn(out) : [];
  const server = TestServer.inNewFolder({ ESPALIER_RECORD_INTERVAL_MS: '5000' });
  server.threads = Number(values.threads);
  await server.start();
  try {
    for (const target of values.targets.split(',').map(Number)) {
      for (const seed of values.seeds.split(',')) {
        for (const { name, settings } of recipes) {
          if (trials.some((one) => one.name === name && one.target === target && one.seed === seed)) continue;
          const trial = await oneTrial(server, name, { preset: values.preset, ...settings, targetSparsity: target, seed });
          trials.push(trial);
          if (out !== undefined) appendFileSync(out, `${JSON.stringify(trial)}\n`);
          console.error(JSON.stringify(trial));
        }
      }
    }
  } finally {
    await server.dispose();
  }
  console.log(tableOf(trials));
}

function recipeOf(argument: string): { name: string; settings: object } {
  const [, name, json] = /^([^=]+)=(\{.*\})$/s.exec(argument) ?? [];
  if (name === undefined || json === undefined) throw new Error(`NAME=SETTINGS is allowed, not ${JSON.stringify(argument)}\n\n${usage}`);
  return { name, settings: JSON.parse(json) as object };
}

function trialsIn(file: string): Trial[] {
  const lines = readFileSync(file, 'utf8').split('\n');
  return lines.filter((line) => line !== '').map((line) => JSON.parse(line) as Trial);
}

async function oneTrial(
  server: TestServer,
  name: string,
  settings: { preset: string; targetSparsity: number; seed: string },
): Promise<Trial> {
  const texts = halvesIn(server.dataFolder);
  const request = v1.LaunchRunRequest.fromPartial({
    name,
    modelPath: FACTBOOK_MODEL,
    data: { trainPath: TRAINING_DATA, validationPath: texts.selection },
    settings: v1.RunSettings.fromJSON(settings),
  });
  const { run } = await unary<v1.LaunchRunResponse>((done) => server.runs.launchRun(request, done));
  const { runId } = run!;
  const ended = await server.completed(runId, 24 * 3600_000, 1_000);
  const perplexity = async (dataPath: string): Promise<number> => {
    const answers = await collect(server.runs.evaluateRun(v1.EvaluateRunRequest.fromPartial({ runId, dataPath })));
    return answers.at(-1)!.evaluation!.perplexity;
  };
  const { steps } = await unary<v1.QueryMetricsResponse>((done) =>
    server.history.queryMetrics(v1.QueryMetricsRequest.fromPartial({ runId, maxPoints: 10_000 }), done),
  );
  return {
    name,
    target: settings.targetSparsity,
    seed: settings.seed,
    expectedSparsity: ended.expectedSparsity,
    hardSparsity: ended.hardSparsity,
    overshoot: Math.max(...steps.map((step) => step.expectedSparsity)) - settings.targetSparsity,
    seconds: ended.trainingSeconds,
    selection: await perplexity(texts.selection),
    report: await perplexity(texts.report),
    whole: await perplexity(texts.whole),
  };
}

/** Writes two halves of the text: every second document from the first on, and from the second on. */
function halvesIn(folder: string): { selection: string; report: string; whole: string } {
  const whole = join(TRAINING_DATA, '..', 'validation.jsonl');
  const documents = readFileSync(whole, 'utf8').trim().split('\n');
  const half = (name: string, from: number): string => {
    const path = join(folder, `${name}.jsonl`);
    writeFileSync(path, documents.filter((_, index) => index % 2 === from).join('\n'));
    return path;
  };
  return { selection: half('selection', 0), report: half('report', 1), whole };
}
