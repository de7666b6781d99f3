#!/usr/bin/env node
// Counts the files that an addition of each kind touches: those that the steps in HACKING.md name, and, as a proof that the steps are
// complete, the product files that name an earlier addition of the kind.
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';

/** By the heading in HACKING.md: the names of an earlier addition, where no other thing is called so. */
const EARLIER = {
  'Add an export format': null,
  'Add a target': 'target_macs|targetMacs',
  'Add a loss': 'lm_loss|lmLoss',
  'Add an architecture': 'SmolLM3ForCausalLM',
  'Add an event': 'RunPrioritized',
  'Add a page of the dashboard': null,
  'Add a setting': 'evaluation_window|evaluationWindow',
  'Add a recipe': 'RECIPE_MAGNITUDE',
};
const PRODUCT = [
  'apps',
  'libs',
  'native-engine',
  'loaders',
  'proto',
  ':!*.md',
  ':!*test*',
  ':!*.binpb',
  ':!native-engine/bench',
  ':!native-engine/tools',
];

const git = (...args) => execFileSync('git', args, { encoding: 'utf8' }).split('\n').filter(Boolean);
const files = git('ls-files');
const sections = readFileSync('HACKING.md', 'utf8').split(/^## /m);

/** A path in the text may be the end of a path. A name with NAME in it stands for a new file. */
function filesIn(text) {
  const named = [...text.matchAll(/`([\w./-]+\.(?:tsx?|h|cpp|proto|py|md))`|\]\(([\w./-]+\.md)\)/g)].map(([, name, page]) => name ?? page);
  return new Set(named.map((name) => files.find((file) => `/${file}`.endsWith(`/${name}`)) ?? name));
}

for (const [heading, earlier] of Object.entries(EARLIER)) {
  const section = sections.find((one) => one.startsWith(`${heading}\n`));
  if (section === undefined) throw new Error(`HACKING.md has no section "${heading}"`);
  const named = [...filesIn(section)];
  console.log(`${heading}: its steps name ${named.length}: ${named.join(' ')}`);
  if (earlier === null) continue;
  const naming = git('grep', '-lE', earlier, '--', ...PRODUCT);
  const others = naming.filter((file) => !named.includes(file));
  console.log(`  ${earlier} stands in ${naming.length}${others.length === 0 ? '' : `, beside its steps: ${others.join(' ')}`}`);
}
