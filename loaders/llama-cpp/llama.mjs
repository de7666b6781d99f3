// Asks llama.cpp about a GGUF file: for likelihoods and for tokens. evaluate.mjs is the program.
import { readFileSync } from 'node:fs';
import { getLlama, LlamaLogLevel } from 'node-llama-cpp';

const { version } = JSON.parse(readFileSync(new URL('node_modules/node-llama-cpp/package.json', import.meta.url), 'utf8'));

/**
 * The most logits that are asked for at once. Each takes some 50 bytes here. With a vocabulary of 151,936 these are the logits of 6 tokens.
 */
const LOGITS_AT_ONCE = 1_000_000;

export function openLlama(threads = 0) {
  return getLlama({
    gpu: false,
    build: 'never',
    skipDownload: true,
    progressLogs: false,
    logLevel: LlamaLogLevel.error,
    maxThreads: threads,
  });
}

/** Answers a request of evaluate.mjs about one file. */
export async function answer(llama, file, request) {
  const model = await llama.loadModel({ modelPath: file });
  const result = request.texts ? { tokens: request.texts.map((one) => [...model.tokenize(one, false)]) } : await evaluate(model, request);
  await model.dispose();
  return { loader: `llama.cpp (node-llama-cpp ${version})`, ...result };
}

async function evaluate(model, { ids, window }) {
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
  let piece = 1; // until the first answer tells the size of the vocabulary
  for (let start = 0; start + window <= ids.length; start += window) {
    await sequence.clearHistory();
    const end = start + window - 1;
    for (let at = start; at < end;) {
      const read = ids.slice(at, Math.min(at + piece, end));
      const output = await sequence.controlledEvaluate(read.map((token) => [token, { generateNext: { logits: true } }]));
      output.forEach((one, index) => {
        const logits = one?.next?.logits;
        // If every logit is NaN, llama.cpp can't choose a token and returns nothing.
        sum += logits === undefined ? NaN : logOfSum(logits) - logits.get(ids[at + index + 1]);
        predictions += 1;
        if (logits !== undefined) piece = Math.max(1, Math.floor(LOGITS_AT_ONCE / logits.size));
      });
      at += read.length;
    }
  }
  await context.dispose();
  return { negativeLogLikelihood: numberOrName(sum / predictions), predictions };
}

/** JSON has neither NaN nor infinity, so both are written as their names. */
function numberOrName(value) {
  return Number.isFinite(value) ? value : String(value);
}

/** log(sum(exp(logit))) in double precision. */
function logOfSum(logits) {
  let largest = -Infinity;
  for (const value of logits.values()) largest = Math.max(largest, value);
  let total = 0;
  for (const value of logits.values()) total += Math.exp(value - largest);
  return largest + Math.log(total);
}
