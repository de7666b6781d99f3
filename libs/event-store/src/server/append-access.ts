import type { Principal } from './access.js';
import type { ServerContext } from './context.js';

/** Writing "$$name" is writing the metadata of "name". */
export function authorizeAppend(context: ServerContext, caller: Principal, stream: string): void {
  if (stream.startsWith('$$')) context.access.check(caller, stream.slice(2), 'metaWrite');
  else context.access.check(caller, stream, 'write');
}
