import { toSvg, type Drawing } from './chart-svg.js';
import { lookOf } from './line-looks.js';

const percents = (value: number): string => `${Number((value * 100).toFixed(6))} %`;
const drawing = (curves: Drawing['curves'], more: Partial<Drawing> = {}): string =>
  toSvg({
    title: 'Sparsity',
    xName: 'step',
    yName: 'share',
    xWords: String,
    yWords: percents,
    x: [0, 10, 20],
    curves,
    log: false,
    ...more,
  });
const linesIn = (svg: string): string[] => [...svg.matchAll(/<path d="(M[^"]*)" fill="none" stroke="#17695a"/g)].map(([, line]) => line!);

describe('a chart as a file', () => {
  test('a curve with few values is one line through all of them; any other breaks where values are missing', () => {
    const values = [0.1, null, 0.5];
    const [whole] = linesIn(drawing([{ label: 'hard', values, spans: true, ...lookOf(0) }]));
    const [broken] = linesIn(drawing([{ label: 'hard', values, ...lookOf(0) }]));
    expect(whole).toMatch(/^M[\d. ]+L[\d. ]+$/);
    expect(broken).toMatch(/^M[\d. ]+M[\d. ]+$/);
  });

  test('its axes have round values, names and a legend', () => {
    const svg = drawing([{ label: 'expected', values: [0.461, 0.48, 0.508], ...lookOf(0) }]);
    expect(svg.match(/>(\d+) %</g)).toEqual(
      ['>46 %<', '>47 %<', '>48 %<', '>49 %<', '>50 %<', '>51 %<'].filter((tick) => svg.includes(tick)),
    );
    for (const words of ['>48 %<', '>step<', '>share<', '>expected<', '>Sparsity<']) expect(svg).toContain(words);
    expect(svg).not.toContain('50.8');
  });

  test('a logarithmic axis leaves out values that have no logarithm', () => {
    const svg = drawing([{ label: 'loss', values: [100, 0, 1], ...lookOf(0) }], { log: true, yWords: String });
    expect(svg).not.toMatch(/NaN|Infinity/);
    expect(svg).toContain('>10<');
  });

  test('marks that lie within are drawn, names stay text', () => {
    const marks = [
      { x: 10, kind: 'rewind' as const, words: 'rewound to <5>' },
      { x: 99, kind: 'fork' as const, words: 'beyond' },
    ];
    const svg = drawing([{ label: '<b>', values: [1, 2, 3], ...lookOf(0) }], { marks });
    expect(svg).toContain('rewound to &lt;5&gt;');
    expect(svg).not.toContain('beyond');
    expect(svg).toContain('&lt;b&gt;');
  });

  test('the first 18 lines all look different', () => {
    const looks = Array.from({ length: 18 }, (_, index) => JSON.stringify(lookOf(index)));
    expect(new Set(looks).size).toBe(18);
  });
});
