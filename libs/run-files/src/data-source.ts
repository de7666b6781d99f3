// Turns a file's or an option's choice of texts into the data that a run trains on and is evaluated on.
import type { v1 } from '#protocol';
import type { WeightedPath } from './weighted-path.js';

/** The texts by the keys of a run's file. The first path of `data` is required. */
export interface DataChoice {
  data?: WeightedPath[];
  validation?: string[] | false; // false: the fork is not evaluated
  textColumn?: string;
  validationTextColumn?: string;
  responseOnly?: boolean;
  maxTrainTokens?: number;
  maxValidationTokens?: number;
}

export function dataSource(choice: DataChoice): v1.DataSource {
  const { data = [] } = choice;
  const [trainPath = '', ...moreTrainPaths] = data.map(({ path }) => path);
  // Where only some paths have a weight, the others get 0, which the server refuses: either every path needs a weight, or none.
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
