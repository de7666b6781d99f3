// Prints a study's rungs: the contenders of each rung, and the ones that went on.
import type { v1 } from '#protocol';
import { decimal, percent, when } from '../output/format.js';
import type { Output } from '../output/output.js';
import type { Whole } from '../connection/connection.js';

export function printRungs(output: Output, { study, rungs }: Whole<v1.GetStudyResponse>): void {
  const { halving } = study;
  if (halving === undefined) return;
  output.line();
  const budget = halving.setting.replaceAll('_', ' ');
  output.text(`rungs of ${halving.rungs.join(', ')} ${budget}; ${percent(halving.keep)} of the contenders go on, one at least`);
  if (rungs.length === 0) {
    output.text('no rung is decided yet: all its runs have to end first');
    return;
  }
  const contenders = rungs.flatMap((rung) => rung.contenders.map((contender, index) => ({ rung, contender, place: index + 1 })));
  const fields = [...new Set(contenders.flatMap(({ contender }) => Object.keys(contender.settings)))];
  const models = new Set(rungs.map(({ modelPath }) => modelPath));
  output.table(
    ['RUNG', budget.toUpperCase(), 'TARGET', 'PLACE', 'VARIANT', ...fields.map(titleOf), 'PERPLEXITY', 'SPREAD', 'OUTCOME', 'DECIDED'],
    contenders.map(({ rung, contender, place }) => [
      String(rung.rung + 1),
      String(rung.budget),
      rung.target || percent(rung.targetSparsity),
      String(place),
      models.size > 1 ? `${contender.variant} (${rung.modelPath})` : contender.variant,
      ...fields.map((field) => contender.settings[field] ?? ''),
      decimal(contender.perplexity?.mean),
      contender.perplexity?.spread === undefined ? '-' : `± ${decimal(contender.perplexity.spread)}`,
      outcomeOf(contender),
      when(rung.decidedAt),
    ]),
    [0, 1, 2, 3, ...fields.map((_, index) => index + 5), fields.length + 5, fields.length + 6],
    { VARIANT: 'cut', DECIDED: 1, SPREAD: 2 },
  );
}

const titleOf = (field: string): string => field.replaceAll('_', ' ').toUpperCase();

function outcomeOf({ goesOn, missedTarget, perplexity }: v1.StudyContender): string {
  if (perplexity === undefined) return 'failed';
  return [goesOn ? 'goes on' : 'out', ...(missedTarget ? ['missed its target'] : [])].join(', ');
}
