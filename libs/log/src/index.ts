export { openLog } from './open-log.js';
export { outlivePipes } from './outlive-pipes.js';
