// The parts that tests of recovery share.
import { v1 } from '#protocol';
import { collect, type TestServer, unary } from './server.js';

export class Forks {
  constructor(private readonly server: TestServer) {}

  readonly fork = (
    of: v1.Run,
    settings: object,
    from: v1.ForkRunRequest['from'] = { $case: 'lastState', value: true },
  ): Promise<v1.ForkRunResponse> =>
    unary((done) => this.server.runs.forkRun(v1.ForkRunRequest.fromPartial({ parentRunId: of.runId, from, settings }), done));

  readonly forked = async (of: v1.Run, settings: object): Promise<v1.Run> =>
    this.server.completed((await this.fork(of, settings)).run!.runId);
}

/** Exports the run in three formats, and expects each export to be loaded and to have the perplexity of the run. */
export async function expectExportsOfItsPerplexity(server: TestServer, { runId, evaluations }: v1.Run): Promise<void> {
  const masked = evaluations.find((one) => one.subject === 'masked')!;
  for (const format of ['masked', 'hf', 'gguf']) {
    const messages = await collect(server.runs.exportRun(v1.ExportRunRequest.fromPartial({ runId, format, dtype: 'f32' })));
    const { digest, proof } = messages.at(-1)!.export!;
    expect(proof!.loaders.filter(({ outcome }) => outcome === 'failed')).toEqual([]);
    const evaluated = await collect(server.runs.evaluateRun(v1.EvaluateRunRequest.fromPartial({ runId, exportDigest: digest })));
    expect(evaluated.at(-1)!.evaluation!.negativeLogLikelihood).toBeCloseTo(masked.negativeLogLikelihood, 4);
  }
}
