import type { Statement } from 'better-sqlite3';
import type { ViewsDatabase } from '../../event-sourcing/read-models/views-file.js';

export interface Statements {
  loadDetail: Statement;
  saveRun: Statement;
  saveDetail: Statement;
  addTeacher: Statement;
  abandonTeachers: Statement;
  discardTeachers: Statement;
  addDiscarded: Statement;
  addSegment: Statement;
  saveAttempt: Statement;
  addMetrics: Statement;
  addMasks: Statement;
}

/** All writes replace rows, so that an event that is delivered twice leaves the same rows. */
export function prepareStatements(database: ViewsDatabase): Statements {
  return {
    loadDetail: database.prepare('SELECT detail FROM run_details WHERE run_id = ?'),
    saveRun: database.prepare('INSERT OR REPLACE INTO runs_rows VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)'),
    saveDetail: database.prepare('INSERT OR REPLACE INTO run_details_rows VALUES (?, ?, ?)'),
    addTeacher: database.prepare('INSERT OR REPLACE INTO teachers_rows VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 0, ?, 0, ?)'),
    abandonTeachers: database.prepare('UPDATE teachers_rows SET abandoned = 1 WHERE run_id = ? AND step > ?'),
    discardTeachers: database.prepare('UPDATE teachers_rows SET discarded = 1 WHERE run_id = ? AND state_digest = ?'),
    addDiscarded: database.prepare('INSERT OR REPLACE INTO discarded_artifacts_rows VALUES (?, ?, ?, ?, ?)'),
    addSegment: database.prepare('INSERT OR REPLACE INTO segments_rows VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)'),
    saveAttempt: database.prepare('INSERT OR REPLACE INTO attempts_rows VALUES (?, ?, ?, ?, ?)'),
    addMetrics: database.prepare('INSERT OR REPLACE INTO metrics_rows VALUES (?, ?, ?, ?, ?)'),
    addMasks: database.prepare('INSERT OR REPLACE INTO mask_changes_rows VALUES (?, ?, ?, ?)'),
  };
}
