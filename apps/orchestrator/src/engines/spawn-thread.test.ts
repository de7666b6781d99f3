import { execFileSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';

const MODULE = fileURLToPath(new URL('./spawn-thread.js', import.meta.url));

/** Returns the priority of a process that began with `niceness` and gave way to engines. */
function nicenessAfter(niceness: number): number {
  const script = `import(${JSON.stringify(MODULE)}).then((m) => {
    m.giveWayToEngines();
    console.log(require('node:os').getPriority());
    process.exit(0);
  })`;
  return Number(execFileSync('nice', ['-n', String(niceness), process.execPath, '-e', script], { encoding: 'utf8' }));
}

describe('A server that gives way to its engines', () => {
  it('keeps a priority that is lower already, since without privileges it may not raise it', () => {
    expect(nicenessAfter(19)).toBe(19);
  });
});
