// How the answers of the public API compare with one another: one rule for the command line and the dashboard. It knows messages by their
// shape alone and imports nothing, so that it runs in a browser too.
export { budgetPlanWords, budgetWords, otherTargets, targetWords, type BudgetFigures } from './budget-words.js';
export { onFront, type SizeAndQuality } from './pareto.js';
export { speedWords, spreadWords, type SpeedUp } from './speed-words.js';
export { groupName, intactValue, linesOf, measureName, measureNames, measureOf, type StudyLine } from './study-lines.js';
export { csvCell } from './csv.js';
export { hasMissedTarget, isOffTarget, TARGET_TOLERANCE } from './target.js';
export { axisRange, LEAST_SPARSITY_POINTS } from './axis-range.js';
