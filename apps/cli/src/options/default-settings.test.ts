import { presets, resolveSettings } from '../../../orchestrator/src/pruning-run/method/run-settings.js';
import { buildProgram } from '../program.js';
import { DEFAULT_SETTINGS } from './default-settings.js';
import { flagOf } from './flag-names.js';

const launch = buildProgram().commands.find((command) => command.name() === 'launch')!;

test.each(Object.keys(presets))('the help of launch says the defaults of the preset %s as they are', (preset) => {
  const settings = resolveSettings({ preset });
  const told = new Map(DEFAULT_SETTINGS.map(([option, short, paper]) => [option, preset === 'paper' ? (paper ?? short) : short]));
  for (const [name, value] of Object.entries(settings)) {
    if (['preset', 'denseSteps', 'checkpointActivations', 'loraTargets', 'warmupSteps', 'maskLearningRate'].includes(name)) continue;
    const option = flagOf(`settings.${name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`)}`, launch)!;
    const words = told.get(option)!.replace('2/3', String(2 / 3));
    expect([option, words.split(',')[0]]).toEqual([option, String(value)]);
  }
});

test('what follows from the steps, and what is a list', () => {
  expect(resolveSettings({ totalSteps: 1000 })).toMatchObject({ warmupSteps: 300, loraTargets: { length: 7 } });
  expect(resolveSettings({ totalSteps: 1400 }).maskLearningRate).toBe(0.1);
  expect(resolveSettings({ totalSteps: 100 }).maskLearningRate).toBeGreaterThan(0.1);
  expect(resolveSettings({ preset: 'paper', totalSteps: 700 })).toMatchObject({ warmupSteps: 100, loraTargets: ['q_proj', 'v_proj'] });
  expect(resolveSettings({ preset: 'paper', totalSteps: 700, targetSparsity: 0.3 }).warmupSteps).toBe(400);
});
