// Tests the pages for people that leave the server in files. Printed on a terminal, their text must have no other effect.
import { launched, stateAt, Story } from '../pruning-run/testing.js';
import type { NewFact } from '../pruning-run/record/pruning-run.events.js';
import { modelCard } from '../exports/exports.js';
import { recordPage } from './record-page.js';

const HOSTILE = '/models/\u001b[2J\u202egnp\n# Not ours';

test('a model card and the page of a record show what a path would hide', () => {
  const launch = launched({ totalSteps: 20, segmentSteps: 10 }) as Extract<NewFact, { type: 'RunLaunched' }>;
  const { data } = launch;
  const hostile = { ...launch, data: { ...data, model: { ...data.model, path: HOSTILE } } };
  const run = new Story(hostile).start().train(stateAt(10, 0.01)).state;
  const pages = [modelCard({ run, state: run.current!, form: 'masked', format: 'masked' }), recordPage(run, [], [], 'today')];
  for (const page of pages) {
    expect(page).toContain('/models/\\u{1b}[2J\\u{202e}gnp\\n# Not ours');
    expect(page).not.toMatch(/[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u202a-\u202e]|^# Not ours/m);
  }
});
