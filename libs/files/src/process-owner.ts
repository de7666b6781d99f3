// The owner of an unfinished file: the file's name holds a name of its process, so that another process can tell later whether the maker is
// surely dead. A process number alone is not enough: numbers are reused, and each container counts its own.
import { createHash } from 'node:crypto';
import { existsSync, readFileSync, readlinkSync } from 'node:fs';
import { hostname } from 'node:os';

/** machine, boot and process namespace of a process, then its number and the moment of its start in that boot. */
export const OWNER = /[0-9a-f]{8}-[0-9a-f]{8}-\d+-\d+-\d+/;

/** undefined where the system does not tell. */
export function ownerName(pid: number = process.pid): string | undefined {
  try {
    const start = startOf(pid);
    return start === undefined ? undefined : [machine(), boot(), namespace(), pid, start].join('-');
  } catch {
    return undefined;
  }
}

/** False where it may live: in another container, or on another machine that shares the disk. */
export function isSurelyDead(owner: string): boolean {
  const [ofMachine, ofBoot, ofNamespace, pid, start] = owner.split('-');
  try {
    if (ofMachine !== machine()) return false;
    if (ofBoot !== boot()) return hasMachineId(); // the machine has been started again since; a bare name may be another's too
    return ofNamespace === namespace() && startOf(Number(pid)) !== start;
  } catch {
    return false;
  }
}

const short = (text: string): string => createHash('sha256').update(text).digest('hex').slice(0, 8);
const MACHINE_ID = '/etc/machine-id';
const hasMachineId = (): boolean => existsSync(MACHINE_ID);
const machine = (): string => short(`${hasMachineId() ? readFileSync(MACHINE_ID, 'utf8') : ''}${hostname()}`);
const boot = (): string => short(readFileSync('/proc/sys/kernel/random/boot_id', 'utf8'));
const namespace = (): string => /\d+/.exec(readlinkSync('/proc/self/ns/pid'))![0];

/** In ticks since the boot; undefined: there is no such process, or it has ended and its parent has not asked how. */
function startOf(pid: number): string | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    const [state, ...rest] = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    return state === 'Z' || state === 'X' ? undefined : rest[18];
  } catch (error) {
    if (['ENOENT', 'ESRCH'].includes((error as NodeJS.ErrnoException).code ?? '')) return undefined;
    throw error;
  }
}
