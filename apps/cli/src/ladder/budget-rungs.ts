// The rungs of a ladder that keep budgets: for each amount the largest model within it.
import { BUDGETS, targetWords, typedNumber, type BudgetName } from '#comparison';
import { settingsTable } from '#protocol';

export interface Aim {
  setting: BudgetName;
  amount: number;
}

/** The size of a model, as its export in the model's type has it. */
export interface Sizes {
  parameters: number;
  bytes: number;
  multiplicationShare: number;
}

export const aimWords = ({ setting, amount }: Aim): string => targetWords({ [setting]: amount });
export const aimOption = ({ setting }: Pick<Aim, 'setting'>): string => `--${BUDGETS[setting].replaceAll('_', '-')}`;

/** "1M,1.5M,2M", each as the setting of that name takes it. @throws RangeError with what is allowed */
export function amountsOf(setting: BudgetName, text: string): Aim[] {
  const { share, unit, min = 0, max = Number.MAX_VALUE } = settingsTable().find(({ name }) => name === setting)!;
  return text.split(',').map((one) => {
    const amount = typedNumber({ share, unit }, one);
    if (!(amount > min && amount <= max)) throw new RangeError(`An amount above ${min} and up to ${max} is allowed, not ${one.trim()}.`);
    return { setting, amount };
  });
}

function within({ setting, amount }: Aim, { parameters, bytes, multiplicationShare }: Sizes): boolean {
  if (setting === 'targetParams') return parameters <= amount;
  if (setting === 'targetBytes') return bytes <= amount;
  return multiplicationShare <= amount;
}

const sizeIn = ({ setting }: Aim, { parameters, bytes, multiplicationShare }: Sizes): number =>
  setting === 'targetParams' ? parameters : setting === 'targetBytes' ? bytes : multiplicationShare;

/** The later of equal ones is taken: it was trained for longer. */
export function largestWithin<Model extends Sizes>(models: readonly Model[], aim: Aim): Model | undefined {
  const fitting = models.filter((one) => within(aim, one));
  return fitting.reduce<Model | undefined>(
    (best, one) => (best === undefined || sizeIn(aim, one) >= sizeIn(aim, best) ? one : best),
    undefined,
  );
}

/** The size of the smallest model, where none keeps the budget. */
export function smallestWords(models: readonly Sizes[], aim: Aim): string {
  return aimWords({ setting: aim.setting, amount: Math.min(...models.map((one) => sizeIn(aim, one))) });
}
