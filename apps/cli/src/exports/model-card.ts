// The card of a published model: its figures, the recipe that makes it again, its lineage, and the digests that prove it. Paths of this
// machine, notes and tags are left out, since anyone may read a card.
import { basename } from 'node:path';
import { stringify } from 'yaml';
import { targetWords } from '#comparison';
import { pathWords } from '#hub';
import { visibleLines, v1 } from '#protocol';
import { runFileOf } from '../options/run-file.js';
import { measured, subjectWords } from '../output/evaluation-words.js';
import { bytes, count, decimal, percent, recipeWord } from '../output/format.js';
import type { DownloadedExport } from './download-export.js';

export const CARD = 'README.md';

/** @param run as it is after the export was recorded */
export function cardOf(run: v1.Run, exported: v1.ModelExport, { files }: Pick<DownloadedExport, 'files'>): string {
  const { settings = v1.RunSettings.create() } = run;
  const base = /^([\w.-]+\/[\w.-]+) at commit \w+$/.exec(pathWords(run.modelPath))?.[1];
  const head = {
    ...(base === undefined ? {} : { base_model: base }),
    library_name: exported.format === 'gguf' ? 'gguf' : 'transformers',
    pipeline_tag: 'text-generation',
    tags: ['espalier', 'pruning', ...(exported.format === 'gguf' ? [] : ['custom_code'])],
  };
  const parts = [
    `---\n${stringify(head)}---\n\n# ${run.name || run.runId}`,
    `${publicPath(run.modelPath)}, pruned by Espalier from ${count(run.parameterCount)} to ${count(exported.parameterCount)} parameters ` +
      `(${bytes(exported.bytes)}, ${exported.dtype}, format ${exported.format}).`,
    exported.notes.map((note) => `- ${note}`).join('\n'),
    `## Figures\n\n${figures(run, exported)}`,
    `## Recipe\n\n${recipeWord(settings.recipe)} to ${targetWords(settings)}. \`espalier launch --config\` makes the same run ` +
      `again from this file, with the paths of your machine:\n\n\`\`\`yaml\n${runFileOf(publicRun(run))}\`\`\``,
    `## Lineage\n\n${lineage(run, exported)}`,
    `## Certificate\n\n${certificate(run, exported, files)}`,
  ];
  return `${visibleLines(parts.filter((part) => part !== '').join('\n\n'))}\n`;
}

/** The values of the exported state, of the export itself, and of the model before pruning, by the same measures. */
function figures({ evaluations, modelEvaluations }: v1.Run, { stateDigest, digest }: v1.ModelExport): string {
  const isOfExport = ({ subject, stateDigest: state }: v1.Evaluation): boolean =>
    subject === `export:${digest}` || (subject === 'masked' && state === stateDigest);
  const key = ({ task, metric, convention, dataDigest }: v1.Evaluation): string => JSON.stringify([task, metric, convention, dataDigest]);
  const own = evaluations.filter(isOfExport);
  const keys = new Set(own.map(key));
  const intact = evaluations.filter((one) => one.subject === 'intact');
  const shown = [...[...modelEvaluations, ...intact].filter((one) => keys.has(key(one))), ...own];
  if (shown.length === 0) return 'Nothing was measured.';
  const rows = shown.map((one) => {
    const { metric, value, n, convention } = measured(one);
    const spread = one.stderr === undefined ? '' : ` ± ${decimal(one.stderr)}`;
    return `| ${[subjectWords(one), metric, `${decimal(value)}${spread}`, count(n), convention].map(cell).join(' | ')} |`;
  });
  return ['| model | metric | value | over | convention |', '|---|---|---|---|---|', ...rows].join('\n');
}

const cell = (text: string): string => text.replaceAll('|', '\\|').replaceAll('\n', ' ');

function lineage(run: v1.Run, { step }: v1.ModelExport): string {
  const parent =
    run.parentRunId === ''
      ? []
      : [`- forked from run ${run.parentRunId} at step ${run.forkedAtStep}, state \`${run.forkedFromStateDigest}\``];
  return [
    `- model before pruning: ${publicPath(run.modelPath)}, weights \`${run.weightsDigest}\``,
    ...parent,
    `- run ${run.runId}, step ${step}, ${percent(run.hardSparsity)} removed by its last state`,
  ].join('\n');
}

function certificate(run: v1.Run, { digest, stateDigest, proof }: v1.ModelExport, files: DownloadedExport['files']): string {
  const loaders = (proof?.loaders ?? []).map(({ loader, outcome }) => `${loader} ${outcome}`);
  return [
    "The run's record is a chain of digests: `espalier verify RUN --replay FROM..TO` computes its steps again and compares the bits.",
    '',
    `- the record up to revision ${run.revision}: \`${run.digestChain}\``,
    `- state: \`${stateDigest}\``,
    `- export: \`${digest}\``,
    ...(loaders.length === 0 ? ['- not compared with the masked student'] : [`- compared with the masked student: ${loaders.join(', ')}`]),
    '',
    '| file | SHA-256 |',
    '|---|---|',
    ...files.filter(({ name }) => name !== CARD).map((file) => `| ${cell(file.name)} | \`${file.digest}\` |`),
  ].join('\n');
}

/** A name of the hub with its commit, or the last part of a path. */
function publicPath(path: string): string {
  const words = pathWords(path);
  return words === path ? basename(path) : words;
}

function publicRun(run: v1.Run): v1.Run {
  const { data } = run;
  const paths = (all: readonly string[]): string[] => all.map(publicPath);
  return {
    ...run,
    modelPath: publicPath(run.modelPath),
    note: '',
    tags: [],
    data: data && {
      ...data,
      trainPath: publicPath(data.trainPath),
      moreTrainPaths: paths(data.moreTrainPaths),
      validationPath: publicPath(data.validationPath),
      moreValidationPaths: paths(data.moreValidationPaths),
    },
  };
}
