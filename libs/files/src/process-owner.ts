// The owner of an unfinished file. The file's name holds a name of the process that made it, so another process can tell later whether the
// maker is surely dead. A process number alone is not enough: numbers are reused, and each container counts its own.
import { createHash } from 'node:crypto';
import { existsSync, readFileSync, readlinkSync } from 'node:fs';
import { hostname } from 'node:os';

/** The parts of an owner: machine, boot, process namespace, process number, and the time of the process's start in that boot. */
export const OWNER = /[0-9a-f]{8}-[0-9a-f]{8}-\d+-\d+-\d+/;

/** Returns the owner name of a process; undefined where the system does not tell. */
export function ownerName(pid: number = process.pid): string | undefined {
  try {
    const start = startOf(pid);
    return start === undefined ? undefined : [machine(), boot(), namespace(), pid, start].join('-');
  } catch {
    return undefined;
  }
}

/** Returns false where the process may live: in another container, or on another machine that shares the disk. */
export function isSurelyDead(owner: string): boolean {
  const [ofMachine, ofBoot, ofNamespace, pid, start] = owner.split('-');
  try {
    if (ofMachine !== machine()) return false;
    if (ofBoot !== boot()) return hasMachineId(); // the machine was restarted since; another machine may have the same name
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

/**
 * The start of a process in ticks since the boot; undefined: there is no such process, or it has ended and its parent has not read its
 * status yet.
 */
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
