import { csvCell } from '../../../../libs/comparison/src/index.js';
import type { Curve } from './curve.js';

export function download(name: string, type: string, content: string | Blob): void {
  const url = URL.createObjectURL(typeof content === 'string' ? new Blob([content], { type }) : content);
  const link = document.createElement('a');
  link.href = url;
  link.download = name.replace(/[^\w.-]+/g, '_');
  link.click();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}

export function toCsv(x: number[], curves: Curve[], xName = 'step'): string {
  const columns = curves.flatMap(({ label, values, lowest, highest }) => [
    { name: label, values },
    ...(lowest === undefined || highest === undefined
      ? []
      : [
          { name: `${label} lowest`, values: lowest },
          { name: `${label} highest`, values: highest },
        ]),
  ]);
  const cell = (value: number | null | undefined): string =>
    value === null || value === undefined || Number.isNaN(value) ? '' : String(value);
  const lines = x.map((at, index) => [String(at), ...columns.map(({ values }) => cell(values[index]))].join(','));
  return [[csvCell(xName), ...columns.map(({ name }) => csvCell(name))].join(','), ...lines, ''].join('\r\n');
}
