interface Evaluation {
  task: string;
  metric: string;
  subject: string;
  stateDigest: string;
  window: number;
  convention: string;
  dataDigest: string;
  dataPath: string;
  headline: boolean;
  perplexity: number;
}

/** A run with its evaluations, in the shape of the API's messages. */
export interface Evaluated {
  evaluations: readonly Evaluation[];
  settings?: { evaluationWindow?: number | undefined } | undefined;
  data?: { validationPath: string } | undefined;
}

/**
 * Returns a state's perplexity on the run's own validation text with the run's own window, which is how the headline is measured.
 * undefined: it was not measured.
 *
 * @param stateDigest the state; '' is the intact model
 */
export function perplexityOf({ evaluations, settings, data }: Evaluated, stateDigest: string): number | undefined {
  const headline = evaluations.find((one) => one.headline);
  return evaluations.findLast(
    (one) =>
      one.task === 'text' &&
      one.metric === 'perplexity' &&
      (headline === undefined
        ? one.window === settings?.evaluationWindow && (one.dataPath === '' || one.dataPath === data?.validationPath)
        : one.convention === headline.convention && one.dataDigest === headline.dataDigest) &&
      one.subject === (stateDigest === '' ? 'intact' : 'masked') &&
      one.stateDigest === stateDigest,
  )?.perplexity;
}
