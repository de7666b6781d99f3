// Turns the weights of training texts that are mixed into whole parts of a million, so that all later computations with them are exact.
import { EspalierError, type FieldViolation } from '#protocol';

const WHOLE = 1_000_000;
const WEIGHT_MAX = 1e9;
const SOURCES_MAX = 64;
const FIELD = 'data.train_weights';

/**
 * @param paths the absolute paths of the texts
 * @returns the parts, or undefined where the paths are a single source
 * @throws EspalierError REQUEST_INVALID with all that is wrong
 */
export function trainParts(paths: readonly string[], weights: readonly number[] | undefined): number[] | undefined {
  if (weights === undefined) return undefined;
  const violations = violationsOf(paths, weights);
  const [first] = violations;
  if (first !== undefined) throw new EspalierError('REQUEST_INVALID', first.description, { violations });
  return weights.length === 1 ? undefined : partsOf(weights);
}

function violationsOf(paths: readonly string[], weights: readonly number[]): FieldViolation[] {
  const wrong = (field: string, description: string): FieldViolation => ({ field, description, code: 'REQUEST_INVALID' });
  if (weights.length !== paths.length)
    return [wrong(FIELD, `has ${weights.length} weights for ${paths.length} paths; one for each path, or none, is allowed`)];
  if (weights.length > SOURCES_MAX) return [wrong(FIELD, `has ${weights.length} weights; at most ${SOURCES_MAX} sources are mixed`)];
  const bad = weights.flatMap((weight, index) => {
    if (weight > 0 && weight <= WEIGHT_MAX) return [];
    const hint = weight === 0 ? '; either every path has a weight, or none has one' : '';
    return [wrong(`${FIELD}[${index}]`, `the weight of ${paths[index]} must be above 0 and at most ${WEIGHT_MAX}, is ${weight}${hint}`)];
  });
  if (bad.length > 0) return bad;
  const twice = paths.findIndex((path, index) => paths.indexOf(path) < index);
  if (twice >= 0) return [wrong(`data.more_train_paths[${twice - 1}]`, `${paths[twice]} is named twice; one weight says its share`)];
  return partsOf(weights).flatMap((part, index) =>
    part > 0
      ? []
      : [wrong(`${FIELD}[${index}]`, `the weight of ${paths[index]} is less than a millionth of all weights together: ${weights[index]}`)],
  );
}

/** Rounds the parts so that they add up: the largest remainders are rounded up, the first of equal ones first. */
function partsOf(weights: readonly number[]): number[] {
  const sum = weights.reduce((total, weight) => total + weight, 0);
  const shares = weights.map((weight) => (weight / sum) * WHOLE);
  const parts = shares.map((share) => ({ part: Math.floor(share), rest: share % 1 }));
  const left = WHOLE - parts.reduce((total, { part }) => total + part, 0);
  for (const rounded of parts.toSorted((a, b) => b.rest - a.rest).slice(0, left)) rounded.part += 1;
  return parts.map(({ part }) => part);
}
