#!/usr/bin/env node
// Evaluates a GGUF file with llama.cpp: mean negative log-likelihood over windows of token ids, as Espalier's own evaluation takes it.
// Or tokenizes texts. Runs as a process of its own, since an assertion of llama.cpp ends the process.
//
//   node evaluate.mjs FILE < request    a line of JSON: {"window": N, "ids": [...]} or {"texts": [...]}
//   --exit-with-stdin                   gives up when the input ends, which the asking process keeps open
//
// Prints one JSON object. A likelihood that is not finite is written as its name: "NaN", "Infinity".
import { createInterface } from 'node:readline';
import { answer, openLlama } from './llama.mjs';

const [file, ...flags] = process.argv.slice(2);
const lines = createInterface({ input: process.stdin });
const request = JSON.parse(await new Promise((resolve) => lines.once('line', resolve)));
const giveUp = () => process.exit(1);
if (flags.includes('--exit-with-stdin')) lines.once('close', giveUp);
const llama = await openLlama(request.threads);
process.stdout.write(JSON.stringify(await answer(llama, file, request)) + '\n');
await llama.dispose();
lines.off('close', giveUp);
process.stdin.destroy(); // an open input would otherwise keep this process running
