import type { Run } from '../generated/espalier/v1/run_service_pb.js';

/** A state's perplexity on the run's own validation text, over its own windows: as the headline is. undefined: it was not measured. */
export function perplexityOf(run: Run, stateDigest: string): number | undefined {
  const headline = run.evaluations.find((one) => one.headline);
  return run.evaluations.findLast(
    (one) =>
      one.task === 'text' &&
      one.metric === 'perplexity' &&
      one.window === run.settings?.evaluationWindow &&
      (headline === undefined
        ? one.dataPath === '' || one.dataPath === run.data?.validationPath
        : one.dataDigest === headline.dataDigest) &&
      (one.subject === 'masked' || one.subject === 'intact') &&
      one.stateDigest === stateDigest,
  )?.perplexity;
}
