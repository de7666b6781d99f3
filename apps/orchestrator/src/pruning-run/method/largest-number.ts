/**
 * The largest whole number from `least` to `most` for which `fits` holds. `fits` must hold for `least`. Above a number for which it does
 * not hold, it must hold for none.
 */
export function largestNumber(fits: (count: number) => boolean, least: number, most: number): number {
  let [low, high] = [least, most + 1];
  while (high - low > 1) {
    const middle = Math.floor((low + high) / 2);
    if (fits(middle)) low = middle;
    else high = middle;
  }
  return low;
}
