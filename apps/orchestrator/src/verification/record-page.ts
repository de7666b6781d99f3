// The page for people in an audit bundle: the settings, model and data of the run, which teacher instructed when and why, and the results.
import { counted, visibleText } from '#protocol';
import type { BundleManifest, Instruction } from '#audit';
import { measureName } from '../pruning-run/record/measures.js';
import type { PruningRunState } from '../pruning-run/aggregate/pruning-run.js';

export function recordPage(
  run: PruningRunState,
  engines: BundleManifest['engines'],
  instructions: readonly Instruction[],
  createdAt: string,
): string {
  const { model, data, settings, origin, current } = run;
  const last = current?.step ?? 0;
  return [
    `# Record of run ${run.runId}, ${run.name}`,
    '',
    `Written ${createdAt} from the events beside this page; where they differ, the events are right.`,
    '',
    '## What was asked',
    '',
    `- Model: ${model.path}, ${model.architecture}, ${model.parameterCount} parameters, weights SHA-256 ${model.weightsDigest}`,
    `- Training data: ${[data.trainPath, ...(data.moreTrainPaths ?? [])].join(', ')}, ${data.trainTokens} tokens, ` +
      `SHA-256 of the tokens ${data.trainDigest}, of the tokenizer ${data.tokenizerDigest}`,
    ...(data.validationPath === null
      ? []
      : [
          `- Validation data: ${[data.validationPath, ...(data.moreValidationPaths ?? [])].join(', ')}, ` +
            `${data.validationTokens} tokens, SHA-256 ${data.validationDigest}`,
        ]),
    ...(origin === null
      ? []
      : [
          `- Forked from run ${origin.parentRunId}, revision ${origin.parentRevision}, ` +
            `at step ${origin.from.step}, state ${origin.from.stateDigest}`,
        ]),
    ...Object.entries(settings).map(([name, value]) => `- ${name}: ${String(value)}`),
    '',
    '## Engines',
    '',
    ...engines.map(({ attempt, engine, numericsFingerprint }) => `- attempt ${attempt}: ${engine}, numerics ${numericsFingerprint}`),
    '',
    '## Who instructed, step by step',
    '',
    '| steps | teacher | reason | explanation |',
    '|---|---|---|---|',
    ...instructions.map(({ fromStep, teacher, reason, explanation }, index) => {
      const end = instructions[index + 1]?.fromStep ?? last;
      return `| ${fromStep} to ${Math.max(fromStep, end - 1)} | ${teacher} | ${reason} | ${explanation.replaceAll('|', '/')} |`;
    }),
    '',
    '## What came out',
    '',
    `- Status: ${run.status}${run.failure === null ? '' : ` (${run.failure.code}: ${run.failure.message})`}, ` +
      `${counted(last, 'step')}, ${counted(run.branch, 'rewind')}, ${counted(run.restarts, 'restart')}, ` +
      counted(run.skippedSteps, 'skipped step'),
    ...(current === null
      ? []
      : [`- State ${current.stateDigest}: expected sparsity ${current.expectedSparsity}, by hard masks ${current.hardSparsity}`]),
    ...run.evaluations.map(
      ({ subject, step, abandoned, ...one }) =>
        `- ${measureName(one)} of ${subject} at step ${step}${abandoned ? ' of an abandoned branch' : ''}: ` +
        `${one.value} over ${one.n}, ${one.convention}, data ${one.dataDigest}` +
        (one.numericsFingerprint === undefined ? '' : `, by an engine with numerics ${one.numericsFingerprint}`),
    ),
    ...run.exports.map(
      ({ dtype, exportDigest, parameterCount, made }) =>
        `- Exported ${made.format} ${dtype}, ${parameterCount} parameters: ${exportDigest}`,
    ),
    '',
  ]
    .map(visibleText) // the page may be printed on a terminal, so control characters are made visible
    .join('\n');
}
