export type { GenerationTask, MeanTask, ScoredTask } from './declaration.js';
export { builtInTasks, findTasks, type WantedTasks } from './find-tasks.js';
export { readQuestions, type Question, type TaskQuestions } from './questions.js';
export { encodeQuestions, type Sequence } from './sequences.js';
export { answerIn, meanOf, measure, type Answer, type Measured } from './metrics.js';
export { TaskError } from './task-error.js';
