export { openLog, type LogOptions } from './open-log.js';
export { cutLine, LINE_CHARACTERS_MAX } from './cut-line.js';
export { outlivePipes } from './outlive-pipes.js';
