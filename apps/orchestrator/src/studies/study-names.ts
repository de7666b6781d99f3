// Finds the study that a request names: by its id, by its name, or by the beginning of its id if no other id has it.
import { invalidField } from '#protocol';
import { SHORTEST_PREFIX } from '../pruning-run/aggregate/short-digests.js';
import { studyNotFound, type StudyState } from './study.js';

const SHOWN = 5;

/** @throws EspalierError FIELD_REQUIRED, STUDY_NOT_FOUND, STUDY_ID_AMBIGUOUS */
export function studyNamed<Study extends Pick<StudyState, 'studyId' | 'name'>>(studies: readonly Study[], text: string): Study {
  if (text === '')
    throw invalidField(
      'FIELD_REQUIRED',
      'study_id',
      `a study is needed: its id, the first ${SHORTEST_PREFIX} or more characters of it, or its name`,
    );
  const whole = studies.find(({ studyId }) => studyId === text) ?? studies.find(({ name }) => name === text);
  if (whole !== undefined) return whole;
  const [found, ...others] = text.length < SHORTEST_PREFIX ? [] : studies.filter(({ studyId }) => studyId.startsWith(text));
  if (found === undefined) throw studyNotFound(text);
  if (others.length === 0) return found;
  const shown = [found, ...others].slice(0, SHOWN).map(({ studyId, name }) => `${studyId} (${name})`);
  const all = `${shown.join(', ')}${others.length >= SHOWN ? ', ...' : ''}`;
  const description = `${text} is the beginning of several study ids: ${all}; give the whole id of the study`;
  throw invalidField('STUDY_ID_AMBIGUOUS', 'study_id', description);
}

const LONGEST_NAME = 120;

/** The name of a study's run. Runs that differ by their seed alone have names of their own, too. */
export function nameOfRun(study: string, variant: string, seed: string | undefined): string {
  const end = seed === undefined ? '' : `, seed ${seed}`;
  return `${study}: ${variant}`.slice(0, LONGEST_NAME - end.length) + end;
}
