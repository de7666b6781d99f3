// Conditions on the figures of runs, such as "target_sparsity=0.5" and "boolq acc>=0.6".
import { invalidField, findSetting, settingOfText } from '#protocol';
import type { RunSummary } from './projection/run-detail.js';
import { figureNamed, type FigureValue } from './run-figures.js';

const MOST = 16;
const OPERATORS = ['<=', '>=', '!=', '=', '<', '>'] as const;
type Operator = (typeof OPERATORS)[number];
/** The form "NAME OP VALUE". The first operator counts, so a text value may hold others. */
const FORM = /^\s*([^<>=!]+?)\s*(<=|>=|!=|=|<|>)\s*(.*?)\s*$/s;

export type Condition = (summary: RunSummary) => boolean;

/** Returns the condition that all texts hold together. @throws EspalierError that names the wrong condition and what is allowed */
export function conditionsOf(texts: readonly string[]): Condition {
  if (texts.length > MOST) throw invalidField('FIELD_OUT_OF_RANGE', 'where', `has ${texts.length} conditions; at most ${MOST} are allowed`);
  const conditions = texts.map((text, index) => conditionOf(text, `where[${index}]`));
  return (summary) => conditions.every((holds) => holds(summary));
}

function conditionOf(text: string, field: string): Condition {
  const [, name, operator, given] = (FORM.exec(text) ?? []) as (string | undefined)[];
  if (name === undefined || given === undefined)
    throw invalidField(
      'FIELD_UNKNOWN_VALUE',
      field,
      `${JSON.stringify(text)} is not a condition: a figure, one of ${OPERATORS.join(' ')} and a value are allowed ("target_sparsity=0.5")`,
    );
  const figure = figureNamed(name, field);
  const is = operator as Operator;
  if (figure.kind === 'text' && is !== '=' && is !== '!=')
    throw invalidField('FIELD_UNKNOWN_VALUE', field, `${name} is a word, which = and != compare; ${operator} is for numbers`);
  const wanted = valueOf(name, figure.kind, given, field);
  return (summary) => {
    const value = figure.of(summary);
    return value !== null && compared(value, is, wanted);
  };
}

function valueOf(name: string, kind: 'number' | 'text', text: string, field: string): number | string {
  const setting = findSetting(name);
  try {
    if (setting?.kind === 'flag' && text !== 'true' && text !== 'false') throw new RangeError('Allowed are true, false.');
    if (setting !== undefined) {
      const value = settingOfText(setting, text);
      return typeof value === 'number' ? value : Array.isArray(value) ? value.join(',') : String(value);
    }
    return kind === 'text' ? text : numberOf(text);
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    throw invalidField('FIELD_UNKNOWN_VALUE', field, `${JSON.stringify(text)} is not a value of ${name}: ${error.message}`);
  }
}

/** Reads a number, which may be a percentage. */
function numberOf(text: string): number {
  const [digits, over] = text.endsWith('%') ? [text.slice(0, -1), 100] : [text, 1];
  const value = digits.trim() === '' ? Number.NaN : Number(digits) / over;
  if (!Number.isFinite(value)) throw new RangeError('A number is allowed, e.g. 6, 0.5 or 50%.');
  return value;
}

function compared(value: Exclude<FigureValue, null>, operator: Operator, wanted: number | string): boolean {
  switch (operator) {
    case '=':
      return value === wanted;
    case '!=':
      return value !== wanted;
    case '<':
      return value < wanted;
    case '<=':
      return value <= wanted;
    case '>':
      return value > wanted;
    case '>=':
      return value >= wanted;
  }
}
