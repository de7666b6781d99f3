// The files of a chart: its drawing as a picture, and its values as CSV.
import { csvCell } from '../../../../../libs/comparison/src/index.js';
import { download } from '../save-file.js';
import type { Curve } from './curve.js';

const PNG_SCALE = 2;

/** Downloads a drawing as a picture of twice its size, for dense screens. */
export async function downloadPng(name: string, svg: string, width: number, height: number): Promise<void> {
  const image = new Image();
  const url = URL.createObjectURL(new Blob([svg], { type: 'image/svg+xml' }));
  try {
    image.src = url;
    await image.decode();
  } finally {
    URL.revokeObjectURL(url);
  }
  const canvas = document.createElement('canvas');
  [canvas.width, canvas.height] = [width * PNG_SCALE, height * PNG_SCALE];
  canvas.getContext('2d')!.drawImage(image, 0, 0, canvas.width, canvas.height);
  canvas.toBlob((blob) => blob !== null && download(name, 'image/png', blob));
}

/** @param yName the name and the unit of the values, as the axis has them */
export function toCsv(x: number[], curves: Curve[], xName: string, yName: string): string {
  const named = (label: string): string => `${label} (${yName})`;
  const columns = curves.flatMap(({ label, values, lowest, highest }) => [
    { name: named(label), values },
    ...(lowest === undefined || highest === undefined
      ? []
      : [
          { name: named(`${label} lowest`), values: lowest },
          { name: named(`${label} highest`), values: highest },
        ]),
  ]);
  const cell = (value: number | null | undefined): string =>
    value === null || value === undefined || Number.isNaN(value) ? '' : String(value);
  const lines = x.map((at, index) => [cell(at), ...columns.map(({ values }) => cell(values[index]))].join(','));
  return [[csvCell(xName), ...columns.map(({ name }) => csvCell(name))].join(','), ...lines, ''].join('\r\n');
}
