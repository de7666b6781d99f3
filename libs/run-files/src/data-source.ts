// Which text a run trains on and is evaluated on, as a file or options say it.
import type { v1 } from '#protocol';

/** By the keys of a run's file; the first path is the one that must be there. */
export interface DataChoice {
  data?: string[];
  validation?: string[] | false; // false: a fork is not evaluated
  textColumn?: string;
  validationTextColumn?: string;
  responseOnly?: boolean;
  maxTrainTokens?: number;
  maxValidationTokens?: number;
}

export function dataSource(choice: DataChoice): v1.DataSource {
  const [trainPath = '', ...moreTrainPaths] = choice.data ?? [];
  const [validationPath = '', ...moreValidationPaths] = choice.validation || [];
  return {
    trainPath,
    moreTrainPaths,
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
