// Reads the masks of runs from before masks were recorded: the masks of their teachers, from the teachers' states.
import { allGates, gatesApart, type Gates } from '#audit';
import type { ArtifactStore } from '#artifact-store';
import type { ModelIdentity } from '../../pruning-run/record/pruning-run.events.js';
import type { MasksAt } from '../../views/projection/masks-reader.js';
import type { ViewsDatabase } from '../../event-sourcing/read-models/views-file.js';
import { MASK_TENSORS, openUnits } from './open-units.js';
import { readStateTensors } from './state-file.js';

interface TeacherState {
  step: number;
  stateDigest: string;
}

/** The states of the run's own teachers before a step, each once. */
export function teacherSteps(database: ViewsDatabase, runId: string, beforeStep: number): TeacherState[] {
  return database
    .prepare(
      `SELECT DISTINCT step, state_digest AS stateDigest FROM teachers
       WHERE run_id = ? AND abandoned = 0 AND inherited = 0 AND discarded = 0 AND step < ? ORDER BY step`,
    )
    .all(runId, beforeStep) as TeacherState[];
}

export async function* teacherMasks(
  artifacts: ArtifactStore,
  model: Pick<ModelIdentity, 'layers' | 'hiddenSize'>,
  teachers: TeacherState[],
): AsyncGenerator<MasksAt> {
  for (const { step, stateDigest } of teachers) {
    const { heads, units, hidden } = openUnits(await readStateTensors(artifacts, stateDigest, MASK_TENSORS));
    const open = [...model.layers.map((layer, index) => [layer.heads, heads[index]!] as const)];
    open.push(...model.layers.map((layer, index) => [layer.units, units[index]!] as const), [model.hiddenSize, hidden]);
    yield { step, open: gatesOf(open) };
  }
}

function gatesOf(spans: (readonly [size: number, open: ReadonlySet<number>])[]): Gates {
  const all = allGates(spans.reduce((sum, [size]) => sum + size, 0));
  const gates = gatesApart(all, all);
  let first = 0;
  for (const [size, open] of spans) {
    for (const gate of open) gates[(first + gate) >> 3]! |= 1 << ((first + gate) & 7);
    first += size;
  }
  return gates;
}
