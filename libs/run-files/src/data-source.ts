// Which text a run trains on and is evaluated on, as a file or options say it.
import type { v1 } from '#protocol';
import type { WeightedPath } from './weighted-path.js';

/** By the keys of a run's file; the first path is the one that must be there. */
export interface DataChoice {
  data?: WeightedPath[];
  validation?: string[] | false; // false: a fork is not evaluated
  textColumn?: string;
  validationTextColumn?: string;
  responseOnly?: boolean;
  maxTrainTokens?: number;
  maxValidationTokens?: number;
}

export function dataSource(choice: DataChoice): v1.DataSource {
  const { data = [] } = choice;
  const [trainPath = '', ...moreTrainPaths] = data.map(({ path }) => path);
  // The server refuses 0: it says that every path needs a weight, or none.
  const trainWeights = data.some(({ weight }) => weight !== undefined) ? data.map(({ weight = 0 }) => weight) : [];
  const [validationPath = '', ...moreValidationPaths] = choice.validation || [];
  return {
    trainPath,
    moreTrainPaths,
    trainWeights,
    validationPath,
    moreValidationPaths,
    textColumn: choice.textColumn ?? '',
    validationTextColumn: choice.validationTextColumn,
    withoutValidation: choice.validation === false,
    responseOnly: choice.responseOnly ?? false,
    maxTrainTokens: BigInt(choice.maxTrainTokens ?? 0),
    maxValidationTokens: BigInt(choice.maxValidationTokens ?? 0),
  };
}
