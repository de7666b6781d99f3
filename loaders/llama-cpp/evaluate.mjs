#!/usr/bin/env node
// Evaluates a GGUF file with llama.cpp: mean negative log-likelihood over windows of token ids, as Espalier's own evaluation takes it.
// Or tokenizes texts. Runs as a process of its own, since an assertion of llama.cpp ends the process.
//
//   node evaluate.mjs FILE < request    a JSON object: {"window": N, "ids": [...]} or {"texts": [...]}
//
// Prints one JSON object.
import { readFileSync } from 'node:fs';
import { text } from 'node:stream/consumers';
import { getLlama, LlamaLogLevel } from 'node-llama-cpp';

const { version } = JSON.parse(readFileSync(new URL('node_modules/node-llama-cpp/package.json', import.meta.url), 'utf8'));

const [file] = process.argv.slice(2);
const request = JSON.parse(await text(process.stdin));
const llama = await getLlama({
  gpu: false,
  build: 'never',
  skipDownload: true,
  progressLogs: false,
  logLevel: LlamaLogLevel.error,
  maxThreads: request.threads ?? 0,
});
const model = await llama.loadModel({ modelPath: file });
const result = request.texts ? { tokens: request.texts.map((one) => [...model.tokenize(one, false)]) } : await evaluate(request);
process.stdout.write(JSON.stringify({ loader: `llama.cpp (node-llama-cpp ${version})`, ...result }) + '\n');
await llama.dispose();

async function evaluate({ ids, window }) {
  const context = await model.createContext({
    contextSize: window,
    batchSize: window,
    flashAttention: false,
    experimentalKvCacheKeyType: 'F32',
    experimentalKvCacheValueType: 'F32',
  });
  const sequence = context.getSequence();
  let sum = 0;
  let predictions = 0;
  for (let start = 0; start + window <= ids.length; start += window) {
    await sequence.clearHistory();
    const targets = ids.slice(start, start + window);
    const output = await sequence.controlledEvaluate(targets.slice(0, -1).map((token) => [token, { generateNext: { logits: true } }]));
    output.forEach((one, at) => {
      const logits = one?.next?.logits;
      sum += logOfSum(logits.values()) - logits.get(targets[at + 1]);
      predictions += 1;
    });
  }
  await context.dispose();
  return { negativeLogLikelihood: sum / predictions, predictions };
}

/** log(sum(exp(values))) in double precision. */
function logOfSum(values) {
  const all = [...values];
  const largest = all.reduce((a, b) => Math.max(a, b), -Infinity);
  return largest + Math.log(all.reduce((total, value) => total + Math.exp(value - largest), 0));
}
