export type { GenerationTask, MeanTask, ScoredTask } from './declaration.js';
export { builtInTasks, findTasks } from './find-tasks.js';
export { encodedCharacters, heldCharacters } from './question-limits.js';
export type { Question, TaskQuestions } from './questions.js';
export { readTasks, type ReadTasks } from './read-tasks.js';
export { encodeQuestions, type Sequence } from './sequences.js';
export { answerIn, meanOf, measure, type Answer, type Measured } from './metrics.js';
export { TaskError } from './task-error.js';
