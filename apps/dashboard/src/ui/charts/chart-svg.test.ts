import { toSvg, type Drawing } from './chart-svg.js';
import { lookOf } from './line-looks.js';

const percents = (value: number): string => `${Number((value * 100).toFixed(6))} %`;
const drawing = (curves: Drawing['curves'], more: Partial<Drawing> = {}): string =>
  toSvg({
    title: 'Sparsity',
    source: 'half the factbook (abcdefghijkl)',
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
    for (const words of ['>48 %<', '>step<', '>share<', '>expected<', '>Sparsity<', '>half the factbook (abcdefghijkl)<'])
      expect(svg).toContain(words);
    expect(svg).not.toContain('50.8');
  });

  test('the last step is named, in place of a round one that is near', () => {
    const numbers = (last: number): string[] => {
      const svg = drawing([{ label: 'a', values: [0, 1, 2], ...lookOf(0) }], { x: [0, 50, last], yWords: () => 'y' });
      return [...svg.matchAll(/>(\d+)</g)].map(([, number]) => number!);
    };
    expect(numbers(149)).toEqual(['0', '50', '100', '149']);
    expect(numbers(110)).toEqual(['0', '50', '110']);
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

  test('the words of marks at nearly the same place stand in lines of their own, and those at the end before it', () => {
    const marks = [10, 10.1, 20].map((x) => ({ x, kind: 'fork' as const, words: `forked at ${x}` }));
    const svg = drawing([{ label: 'loss', values: [1, 2, 3], ...lookOf(0) }], { marks });
    const placed = [...svg.matchAll(/y="(\d+)" font-size="11" text-anchor="(\w+)">forked/g)].map(([, y, anchor]) => [Number(y), anchor]);
    expect(placed.map(([, anchor]) => anchor)).toEqual(['start', 'start', 'end']);
    expect(placed[0]![0]).not.toBe(placed[1]![0]);
  });

  test('a line over another quantity goes from point to point, and passes by points without a place', () => {
    const [line] = linesIn(drawing([{ label: 'loss', values: [1, 2, 3, 4], ...lookOf(0) }], { x: [20, NaN, 5, 10] }));
    expect(line!.match(/[ML][\d.]+/g)!.map((place) => place[0])).toEqual(['M', 'L', 'L']);
    expect(line).not.toContain('NaN');
  });

  test('the first 18 lines all look different', () => {
    const looks = Array.from({ length: 18 }, (_, index) => JSON.stringify(lookOf(index)));
    expect(new Set(looks).size).toBe(18);
  });
});
