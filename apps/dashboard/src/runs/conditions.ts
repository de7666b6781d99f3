/** Conditions as they are typed, with commas between. */
export const conditionsIn = (text: string): string[] =>
  text
    .split(',')
    .map((one) => one.trim())
    .filter(Boolean);
