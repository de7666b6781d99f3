// Draws the ladder: parameters against perplexity, with the Pareto front as a line.
import { onFront } from '#comparison';
import { decimal, shortCount } from '../output/format.js';
import { scale } from '../output/svg-scale.js';
import { nameOf, type Candidate } from './candidate.js';

const WIDTH = 720;
const HEIGHT = 440;
const LEFT = 70;
const RIGHT = 30;
const TOP = 40;
const BOTTOM = 60;
const OURS = '<!-- espalier ladder -->';

export function ladderSvg(candidates: readonly Candidate[]): string {
  const x = scale(
    candidates.map(({ parameters }) => parameters),
    LEFT,
    WIDTH - RIGHT,
  );
  const y = scale(
    candidates.map(({ perplexity }) => perplexity),
    HEIGHT - BOTTOM,
    TOP,
  );
  const front = candidates.filter((one) => onFront(one, candidates)).sort((a, b) => a.parameters - b.parameters);
  const line = front.map((one) => `${x.at(one.parameters)},${y.at(one.perplexity)}`).join(' ');
  const point = (one: Candidate): string => {
    const at = `cx="${x.at(one.parameters)}" cy="${y.at(one.perplexity)}"`;
    const name = nameOf(one);
    const title = `<title>${name}: ${shortCount(one.parameters)} parameters, perplexity ${decimal(one.perplexity)}</title>`;
    const isFront = onFront(one, candidates);
    const label = isFront ? `<text x="${x.at(one.parameters)}" y="${y.at(one.perplexity) - 8}" text-anchor="middle">${name}</text>` : '';
    return `<circle ${at} r="4" fill="${isFront ? '#1b7f4b' : '#b8b8b8'}">${title}</circle>${label}`;
  };
  const vertical = x.ticks.map(
    (value) =>
      `<line x1="${x.at(value)}" y1="${TOP}" x2="${x.at(value)}" y2="${HEIGHT - BOTTOM}" stroke="#eee"/>` +
      `<text x="${x.at(value)}" y="${HEIGHT - BOTTOM + 18}" text-anchor="middle">${shortCount(value)}</text>`,
  );
  const horizontal = y.ticks.map(
    (value) =>
      `<line x1="${LEFT}" y1="${y.at(value)}" x2="${WIDTH - RIGHT}" y2="${y.at(value)}" stroke="#eee"/>` +
      `<text x="${LEFT - 8}" y="${y.at(value) + 4}" text-anchor="end">${decimal(value, 2)}</text>`,
  );
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${HEIGHT}" font-family="sans-serif" font-size="12">`,
    OURS,
    `<rect width="${WIDTH}" height="${HEIGHT}" fill="white"/>`,
    ...vertical,
    ...horizontal,
    `<polyline points="${line}" fill="none" stroke="#1b7f4b" stroke-width="1.5"/>`,
    ...candidates.map(point),
    `<text x="${(LEFT + WIDTH - RIGHT) / 2}" y="${HEIGHT - 16}" text-anchor="middle">parameters</text>`,
    `<text x="${LEFT}" y="20">perplexity</text>`,
    '</svg>',
    '',
  ].join('\n');
}

/** Tells whether a file with this beginning is a drawing by Espalier, which may be replaced. */
export function isLadderSvg(head: Buffer): boolean {
  return head.toString('utf8').includes(OURS);
}
