// The texts that a run trains on and is evaluated on, from the options of launch and fork or from a run's file.
import type { Command } from 'commander';
import type { DataChoice } from '#run-files';
import { dataPaths, positiveNumber, weightedPaths } from './parse.js';

export function addDataOptions(command: Command, train: string, evaluate: string): Command {
  return command
    .option(
      '--data <path>',
      `${train}; may be given several times, and as PATH=WEIGHT each text gives its share of the sequences`,
      weightedPaths,
    )
    .option('--validation <path>', `${evaluate}; may be given several times`, dataPaths)
    .option(
      '--text-column <name>',
      'field or column with the text, or with the messages of a conversation (default: text, messages, or instruction and output)',
    )
    .option('--validation-text-column <name>', 'the same of the text to evaluate on (default: as --text-column)')
    .option('--response-only', 'learn responses only, of conversations or instructions: the cross-entropy leaves out what they answer')
    .option('--max-train-tokens <n>', 'read no more than this number of tokens to train on, for a quick trial', positiveNumber)
    .option('--max-validation-tokens <n>', 'read no more than this number of tokens to evaluate on', positiveNumber);
}

/** Merges options and file. An option counts before the file's value. */
export function dataChoice(options: DataChoice, file: DataChoice): DataChoice {
  const given = ([name, value]: [string, unknown]): boolean => value !== undefined && DATA_KEYS.has(name);
  return Object.fromEntries([...Object.entries(file).filter(given), ...Object.entries(options).filter(given)]);
}

const DATA_KEYS = new Set([
  'data',
  'validation',
  'textColumn',
  'validationTextColumn',
  'responseOnly',
  'maxTrainTokens',
  'maxValidationTokens',
]);
