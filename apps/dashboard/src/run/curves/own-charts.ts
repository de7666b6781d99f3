// The charts that a reader adds to a page: any quantity over any axis. The address holds them.
import { QUANTITIES } from './quantities.js';
import { quantityOf, X_AXES, type XAxis } from './x-axis.js';

export interface OwnChart {
  quantity: string;
  axis: XAxis;
}

const [BETWEEN, OVER] = [';', '~'];
export const MOST_OWN_CHARTS = 12;

export function ownChartsOf(text: string | null): OwnChart[] {
  const all = [...new Set((text ?? '').split(BETWEEN))].flatMap((one) => {
    const [quantity = '', axis = ''] = one.split(OVER);
    return Object.hasOwn(QUANTITIES, quantity) && Object.hasOwn(X_AXES, axis) ? [{ quantity, axis }] : [];
  });
  return all.slice(0, MOST_OWN_CHARTS);
}

export const ownChartsText = (charts: readonly OwnChart[]): string =>
  charts.map(({ quantity, axis }) => quantity + OVER + axis).join(BETWEEN);

/** The quantities that the charts show or have as their axis. */
export const quantitiesOf = (charts: readonly OwnChart[]): string[] => [
  ...new Set(charts.flatMap(({ quantity, axis }) => [quantity, ...(quantityOf(axis) === undefined ? [] : [axis])])),
];

export const titleOf = ({ quantity, axis }: OwnChart): string => `${QUANTITIES[quantity]!.title} over ${X_AXES[axis]!}`;
