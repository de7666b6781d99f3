// The text of a study's file, as the page shows it.

/** An example that can be understood at a glance; docs/studies.md describes all keys. */
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

/** Returns the line that a refusal names, counted from 1; null: it names none. */
export function lineOf(refusal: string): number | null {
  const line = /\bstudy\.yaml:(\d+)\b/.exec(refusal)?.[1];
  return line === undefined ? null : Number(line);
}

/** Returns the place of a line in a text, so that a field can select it. */
export function rangeOfLine(text: string, line: number): [start: number, end: number] {
  const lines = text.split('\n');
  const start = lines.slice(0, line - 1).reduce((sum, one) => sum + one.length + 1, 0);
  return [Math.min(start, text.length), Math.min(start + (lines[line - 1]?.length ?? 0), text.length)];
}

/** Replaces the file's name by "line 3: ...", because the page has no file. */
export const inLineWords = (refusal: string): string => refusal.replace(/\bstudy\.yaml:(\d+)\b/g, 'line $1').replace(/^study\.yaml: /, '');
