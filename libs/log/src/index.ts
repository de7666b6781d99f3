export { openLog } from './open-log.js';
export { outlivePipes } from './outlive-pipes.js';
export { inOrderOfTime, LEVELS, readLogLine, withoutSecrets, type LogLine, type LogSource } from './log-lines.js';
