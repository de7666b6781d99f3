import { create } from '@bufbuild/protobuf';
import { DataSourceSchema, Recipe, RunSettingsSchema } from '../generated/espalier/v1/common_pb.js';
import { launchCommand, launchFile, shellWord } from './command-words.js';

const run = {
  name: "it's $(odd)",
  tags: ['demo'],
  note: '',
  modelPath: '/models/llama',
  data: create(DataSourceSchema, { trainPath: '/text/a.jsonl', moreTrainPaths: ['/text/b c.jsonl'], responseOnly: true }),
  settings: create(RunSettingsSchema, {
    recipe: Recipe.LM,
    targetSparsity: 0.3,
    totalSteps: 400,
    seed: 18446744073709551615n,
    loraTargets: ['q_proj', 'v_proj'],
    denseSteps: true,
    streamWeights: false,
  }),
};

describe('a launch to copy', () => {
  test('as a command: each option in a line, nothing for the shell to interpret', () => {
    const command = launchCommand(run);
    expect(command.split(' \\\n  ')).toEqual(
      expect.arrayContaining([
        'npx espalier launch',
        '--model=/models/llama',
        '--data=/text/a.jsonl',
        "--data='/text/b c.jsonl'",
        '--response-only',
        String.raw`--name='it'\''s $(odd)'`,
        '--tag=demo',
        '--recipe=lm',
        '--target-sparsity=0.3',
        '--steps=400',
        '--lora-targets=q_proj,v_proj',
        '--dense',
      ]),
    );
    expect(command).not.toContain('--stream');
    expect(command).not.toContain('--validation');
  });

  test('as a file', () => {
    const lines = launchFile(run).split('\n');
    expect(lines).toEqual(
      expect.arrayContaining([
        'model: "/models/llama"',
        'data: ["/text/a.jsonl","/text/b c.jsonl"]',
        'response_only: true',
        'name: "it\'s $(odd)"',
        'tags: ["demo"]',
        'settings:',
        '  recipe: "lm"',
        '  target_sparsity: 0.3',
        '  seed: "18446744073709551615"',
        '  lora_targets: ["q_proj","v_proj"]',
        '  dense_steps: true',
      ]),
    );
    expect(lines.join()).not.toContain('stream_weights'); // off is the default, so it is left out
  });

  test.each([
    ['plain-word_1.x', 'plain-word_1.x'],
    ['', "''"],
    ['two words', "'two words'"],
    ['$HOME', "'$HOME'"],
    ['a\nb', "'a\nb'"],
  ])('the word %j of the shell', (text, word) => {
    expect(shellWord(text)).toBe(word);
  });
});
