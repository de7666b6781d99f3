// The rungs of a ladder that keep budgets: for each amount the largest model within it.
import { BUDGETS, targetWords, typedNumber, type BudgetName } from '#comparison';
import { settingOfName, type v1 } from '#protocol';

export interface BudgetTarget {
  setting: LadderBudget;
  amount: number;
}

/** The size of a model's export. */
export interface Sizes {
  parameters: number;
  bytes: number;
  multiplicationShare: number;
}

/** The budgets by which a ladder finds models: the size that each counts, and the help of its option. */
export const LADDER_BUDGETS = {
  targetParams: { sizeIn: ({ parameters }: Sizes) => parameters, help: 'only the largest model within each, e.g. 1M,1.5M,2M' },
  targetBytes: {
    sizeIn: ({ bytes }: Sizes) => bytes,
    help: "the same by bytes, e.g. 3MB,4MB: counted as by the run's budget, else as weights in the model's type",
  },
  targetMacs: {
    sizeIn: ({ multiplicationShare }: Sizes) => multiplicationShare,
    help: 'the same by shares of the multiplications with weights, e.g. 40%,60%',
  },
} satisfies Partial<Record<BudgetName, { sizeIn: (sizes: Sizes) => number; help: string }>>;
export type LadderBudget = keyof typeof LADDER_BUDGETS;

export const aimWords = ({ setting, amount }: BudgetTarget): string => targetWords({ [setting]: amount });
export const aimOption = ({ setting }: Pick<BudgetTarget, 'setting'>): string => `--${BUDGETS[setting].field.replaceAll('_', '-')}`;

/** "1M,1.5M,2M", each as the setting of that name takes it. @throws RangeError with what is allowed */
export function amountsOf(setting: LadderBudget, text: string): BudgetTarget[] {
  const { share, unit, min = 0, max = Number.MAX_VALUE } = settingOfName(setting);
  return text.split(',').map((one) => {
    const amount = typedNumber({ share, unit }, one);
    if (!(amount > min && amount <= max)) throw new RangeError(`An amount above ${min} and up to ${max} is allowed, not ${one.trim()}.`);
    return { setting, amount };
  });
}

type RunBudget = Pick<v1.Budget, 'setting' | 'intact'> | undefined;
const isOfBytes = (budget: RunBudget): budget is v1.Budget => budget?.setting === BUDGETS.targetBytes.field;

/**
 * Returns the bytes of a state as the run's own budget counts them. The budget says which type of numbers counts, and whether the cache
 * counts. Undefined for a run without a budget in bytes.
 * @param hardSparsity the share of the budget's cost that the state saves
 */
export const bytesByBudget = (budget: RunBudget, hardSparsity: number): number | undefined =>
  isOfBytes(budget) ? Math.round(budget.intact * (1 - hardSparsity)) : undefined;

/** Says how bytes are counted, in words that follow an amount. */
export const bytesCounted = (budget: RunBudget): string =>
  isOfBytes(budget) ? "as the run's budget counts bytes" : "of weights in the model's type";

const sizeIn = ({ setting }: BudgetTarget, sizes: Sizes): number => LADDER_BUDGETS[setting].sizeIn(sizes);

const fitsAim = (aim: BudgetTarget, sizes: Sizes): boolean => sizeIn(aim, sizes) <= aim.amount;

/** The later of equal ones is taken: it was trained for longer. */
export function largestWithin<Model extends Sizes>(models: readonly Model[], aim: BudgetTarget): Model | undefined {
  const fitting = models.filter((one) => fitsAim(aim, one));
  return fitting.reduce<Model | undefined>(
    (best, one) => (best === undefined || sizeIn(aim, one) >= sizeIn(aim, best) ? one : best),
    undefined,
  );
}

export const smallestOf = <Model extends Sizes>(models: readonly Model[], aim: BudgetTarget): Model =>
  models.reduce((least, one) => (sizeIn(aim, one) < sizeIn(aim, least) ? one : least));

/**
 * Returns the size of a model that does not keep the budget. It is written with all digits where a rounded size would read like the budget.
 */
export function sizeWords(model: Sizes, aim: BudgetTarget): string {
  const amount = sizeIn(aim, model);
  const words = aimWords({ setting: aim.setting, amount });
  if (words !== aimWords(aim)) return words;
  if (BUDGETS[aim.setting].given === 'share') return `${100 * amount}% of the multiplications`;
  return `${amount.toLocaleString('en')} ${BUDGETS[aim.setting].unit}`;
}

/** A budget that no model of the run keeps. */
export interface Missing {
  budget: string;
  field: string;
  message: string;
}

/**
 * Marks the largest model within each budget, and returns the budgets that have none.
 * @param sizesOf the sizes by which a model has to keep the budget; they are never smaller than its own
 * @param counted how bytes are counted, in words that follow an amount
 */
export async function markWithin<Model extends Sizes & { aims: BudgetTarget[] }>(
  models: readonly Model[],
  aims: readonly BudgetTarget[],
  sizesOf: (model: Model) => Promise<Sizes>,
  counted: string,
): Promise<Missing[]> {
  const known = new Map<Model, Sizes>();
  const sizes = async (model: Model): Promise<Sizes> => {
    const found = known.get(model) ?? (await sizesOf(model));
    known.set(model, found);
    return found;
  };
  const missing: Missing[] = [];
  for (const aim of aims) {
    const left = new Set(models);
    let found = largestWithin([...left], aim);
    while (found !== undefined && !fitsAim(aim, await sizes(found))) {
      left.delete(found);
      found = largestWithin([...left], aim);
    }
    if (found !== undefined) found.aims.push(aim);
    else {
      const smallest = sizeWords(await sizes(smallestOf(models, aim)), aim);
      const how = aim.setting === 'targetBytes' ? ` ${counted}` : '';
      const message = `no model of the run keeps to ${aimWords(aim)}${how}; the smallest has ${smallest}`;
      missing.push({ budget: aimWords(aim), field: aimOption(aim), message });
    }
  }
  return missing;
}
