// Describes the size and speed of a pruned model.
import { v1 } from '#protocol';
import { count, decimal, percent } from './format.js';

const SHAPES: Partial<Record<v1.ShapeTarget, string>> = {
  [v1.ShapeTarget.SHAPE_TARGET_GGUF]: 'in shapes for gguf',
  [v1.ShapeTarget.SHAPE_TARGET_VLLM]: 'in shapes for vllm',
  [v1.ShapeTarget.SHAPE_TARGET_UNIFORM]: 'all layers alike',
};
const FREE = 'layers of different widths, by which engines for even layers gain little (--for)';

export function resultWords(
  { parameterCount, multiplicationShare, estimated }: v1.ResultEstimate,
  settings: v1.RunSettings | undefined,
): string {
  const shapes = SHAPES[settings?.shapeTarget ?? v1.ShapeTarget.SHAPE_TARGET_FREE] ?? FREE;
  const speed = `a token takes ${percent(multiplicationShare, 0)} of the dense model's multiplications`;
  const times = decimal(1 / multiplicationShare, 1);
  const gain = times === '1.0' ? 'so it is hardly faster' : `so it is at most ${times}x faster`;
  return `${estimated ? 'about ' : ''}${count(parameterCount)} parameters, ${shapes}; ${speed}, ${gain}`;
}
