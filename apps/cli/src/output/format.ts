// Writes numbers for people: with a unit, and without digits that mean nothing.
import { counted, v1 } from '#protocol';

export { byteWords as bytes } from '#comparison';

export function count(value: number | bigint): string {
  return value.toString().replace(/\B(?=(\d{3})+(?!\d))/g, ',');
}

/** Returns a text like "1 step" or "1,400 steps". */
export function howMany(value: number | bigint, one: string, several?: string): string {
  return counted(value, one, several, count);
}

export function shortCount(value: number | bigint): string {
  const number = Number(value);
  for (const [limit, unit] of [
    [1e9, 'B'],
    [1e6, 'M'],
    [1e3, 'k'],
  ] as const) {
    if (Math.abs(number) >= limit) return `${(number / limit).toFixed(number / limit < 10 ? 2 : 1)} ${unit}`;
  }
  return number % 1 === 0 ? String(number) : number.toFixed(1);
}

export function percent(ratio: number, digits = 1): string {
  return Number.isFinite(ratio) ? `${(ratio * 100).toFixed(digits)}%` : '-';
}

export function decimal(value: number | null | undefined, digits = 4): string {
  if (value === undefined || value === null || !Number.isFinite(value)) return '-';
  const size = Math.abs(value);
  return size !== 0 && (size >= 1e6 || size < 1e-3) ? value.toExponential(2) : value.toFixed(digits);
}

/**
 * Returns the loss of the distillation or the text: the total without the Lagrangian term. That term keeps the sparsity on its schedule,
 * and is negative while the student is behind.
 */
export function learningLoss({ loss, lagrangian }: Pick<v1.StepMetrics, 'loss' | 'lagrangian'>): number {
  return loss - lagrangian;
}

export function duration(seconds: number): string {
  if (!Number.isFinite(seconds) || seconds < 0) return '-';
  if (seconds < 60) return `${seconds < 10 ? seconds.toFixed(1) : Math.round(seconds)}s`;
  const whole = Math.round(seconds);
  if (whole < 3600) return `${Math.floor(whole / 60)}m${String(whole % 60).padStart(2, '0')}s`;
  if (whole < 86_400) return `${Math.floor(whole / 3600)}h${String(Math.floor((whole % 3600) / 60)).padStart(2, '0')}m`;
  return `${Math.floor(whole / 86_400)}d${String(Math.floor((whole % 86_400) / 3600)).padStart(2, '0')}h`;
}

export function when(date: Date | undefined): string {
  if (date === undefined) return '-';
  const two = (value: number) => String(value).padStart(2, '0');
  const day = `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())}`;
  return `${day} ${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}`;
}

/** Shortens a digest. It is long enough to be told from others, and short enough for a column. */
export function shortDigest(digest: string): string {
  return digest === '' ? '-' : digest.slice(0, 12);
}

export function problemsFound(count: number): string {
  return `${howMany(count, 'problem')} found`;
}

export function statusWord(status: v1.RunStatus): string {
  return enumWord(v1.runStatusToJSON(status), 'RUN_STATUS_');
}

export function recipeWord(recipe: v1.Recipe): string {
  return enumWord(v1.recipeToJSON(recipe), 'RECIPE_');
}

export function enumWord(name: string, prefix: string): string {
  return name.replace(prefix, '').toLowerCase();
}

export function teacherWord(teacher: v1.TeacherRef | undefined): string {
  switch (teacher?.teacher?.$case) {
    case 'intact':
      return 'intact';
    case 'mark':
      return `#${teacher.teacher.value}`;
    case 'none':
      return 'none';
    case undefined:
      return '-';
  }
}

export function bar(ratio: number, width: number, unicode: boolean): string {
  const filled = Math.round(Math.min(Math.max(ratio, 0), 1) * width);
  const [full, empty] = unicode ? ['█', '░'] : ['#', '.'];
  return full.repeat(filled) + empty.repeat(width - filled);
}
