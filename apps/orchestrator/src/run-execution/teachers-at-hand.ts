// Makes a plan of training whose teachers the engine holds or can read by itself.
import { EspalierError } from '#protocol';
import type { EngineWorkbench } from '../engine-pool/engine-workbench.js';
import type { PruningRunState } from '../pruning-run/aggregate/pruning-run.js';
import type { TeacherSnapshot } from '../pruning-run/method/teacher-policy.js';
import { planTraining, teachersOf, type TrainingPlan } from '../pruning-run/planning/training-plan.js';
import type { TeacherChoice } from '../pruning-run/record/pruning-run.events.js';

export interface TeacherSource {
  /** The snapshots that the engine may read from the artifact store by itself. */
  stored(): readonly TeacherSnapshot[];
  /** Waits until all that was trained so far is durable. */
  settle(): Promise<void>;
  /** Sends a teacher to the engine. Returns false if its state was damaged. @param step the step of the snapshot */
  bring(step: number, teacher: TeacherChoice): Promise<boolean>;
}

/**
 * Sends the teachers that the plan needs and the engine can't read by itself. A sent teacher may push out another one, but never one that
 * the plan needs. So the loop ends. Returns null if a teacher was damaged: the run now goes on from before it.
 */
export async function planWithTeachers(bench: EngineWorkbench, run: PruningRunState, source: TeacherSource): Promise<TrainingPlan | null> {
  const planned = (): TrainingPlan => {
    const stored = new Set(source.stored().map(({ state }) => state.stateDigest));
    return planTraining(
      run,
      bench.teachers((digest) => stored.has(digest)),
    );
  };
  let plan = planned();
  for (let settled = false; ; settled = true) {
    const files = new Set(plan.teacherFiles.map(({ digest }) => digest));
    const missing = teachersOf(plan).find((one) => one.kind === 'snapshot' && !bench.holdsTeacher(one) && !files.has(one.stateDigest));
    if (missing?.kind !== 'snapshot') return plan;
    if (!settled) {
      await source.settle(); // the teacher's bytes may not be durable yet; once they are, the engine may be able to read them
      plan = planned();
      continue;
    }
    const step = run.teachers.find(({ mark }) => mark === missing.mark)?.state.step ?? 0;
    if (!(await source.bring(step, missing))) return null;
    if (!bench.holdsTeacher(missing))
      throw new EspalierError('ENGINE_FAILED', `the engine does not keep the teacher of step ${step} that it got`);
  }
}
