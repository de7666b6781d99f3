import { budgetOf } from '../method/budget.js';
import { groupedShape, launched, Story } from '../testing.js';
import { laterParts } from './later-parts.js';

const { state } = new Story(launched({ targetParams: 100_000 }));
const budget = budgetOf(state.settings, groupedShape)!;
const run = { ...state, budget };

test('a run of this release has no part that this release does not know', () => {
  expect(laterParts(state)).toEqual([]);
  expect(laterParts(run)).toEqual([]);
});

test('what a later release recorded of a run is named, wherever it stands', () => {
  const later = {
    ...run,
    settings: { ...run.settings, headNoise: 0.1, gates: ['head', 'unit', 'hidden', 'expert'] },
    data: { ...run.data, textFilter: 'english' },
    model: { ...run.model, experts: 8 },
    budget: { ...run.budget, unit: 'joule' },
  };
  expect(laterParts(later)).toEqual(['gates expert', 'headNoise', 'data.textFilter', 'model.experts', 'budget.unit']);
});
