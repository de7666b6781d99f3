// The text of a study's file in the page.

/** Short enough to be understood at a glance; docs/studies.md has all keys. */
export const EXAMPLE = `name: recipes
model: /models/llama
data: /data/train.jsonl
validation: /data/validation.jsonl
seeds: [1, 2]
settings: {preset: short}
grid:
  target_sparsity: [0.3, 50%]
runs:
  - name: nuteprune
    settings: {recipe: nuteprune}
  - name: wanda
    settings: {recipe: wanda}
`;

/** The line that a refusal names, from 1; null: it names none. */
export function lineOf(refusal: string): number | null {
  const line = /\bstudy\.yaml:(\d+)\b/.exec(refusal)?.[1];
  return line === undefined ? null : Number(line);
}

/** Where a line lies in a text, for the selection of a field. */
export function rangeOfLine(text: string, line: number): [start: number, end: number] {
  const lines = text.split('\n');
  const start = lines.slice(0, line - 1).reduce((sum, one) => sum + one.length + 1, 0);
  return [Math.min(start, text.length), Math.min(start + (lines[line - 1]?.length ?? 0), text.length)];
}

/** The page has no file: "line 3: ..." */
export const inLineWords = (refusal: string): string => refusal.replace(/\bstudy\.yaml:(\d+)\b/g, 'line $1').replace(/^study\.yaml: /, '');
