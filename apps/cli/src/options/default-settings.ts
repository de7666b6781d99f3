// What a setting is when nobody gives it, for the help of launch and plan. The server has the rules; a test holds these to them.

/** By option: with the preset `short`, and with `paper` where that differs. */
export const DEFAULT_SETTINGS: [option: string, short: string, paper?: string][] = [
  ['--recipe', 'nuteprune'],
  ['--target-sparsity', '0.5'],
  ['--steps', '1400', '8750'],
  ['--warmup-steps', '30% of the steps', '1/7 of them, 4/7 below 35%'],
  ['--schedule', 'linear'],
  ['--seed', '42'],
  ['--batch-size', '8', '16'],
  ['--sequence-length', '128', '512'],
  ['--lora-lr', '0.001'],
  ['--mask-lr', '0.1, more for fewer than 1400 steps', '0.1'],
  ['--lambda-lr', '0.02', '0.1'],
  ['--sparsity-control', 'tracking', 'multipliers'],
  ['--clip-norm', '1'],
  ['--layer-loss-weight', '0.9'],
  ['--kl-loss-weight', '0.1'],
  ['--temperature', '2/3'],
  ['--lora-rank', '8'],
  ['--lora-alpha', '8'],
  ['--lora-targets', 'all of them', 'q_proj,v_proj'],
  ['--snapshot-interval', '0.01'],
  ['--teacher-gap', '10'],
  ['--segment-steps', '50', '100'],
  ['--dtype', 'bf16'],
  ['--evaluation-window', '256, or what the model has'],
];

export function defaultsHelp(): string {
  const width = Math.max(...DEFAULT_SETTINGS.map(([option]) => option.length));
  const lines = DEFAULT_SETTINGS.map(
    ([option, short, paper]) => `  ${option.padEnd(width)}  ${short}${paper === undefined ? '' : ` (paper: ${paper})`}`,
  );
  return `\nDefaults (preset short):\n${lines.join('\n')}\nespalier plan shows them all for your model.`;
}
