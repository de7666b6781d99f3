// The digest of the sources that the engine is built from. The package and the binary packages of a release have it, so that an engine of
// other sources is not used.
import { createHash } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

const SOURCE = /\.(h|hpp|cpp|cu|py|cmake|txt)$/;
const PARTS = ['addon', 'backends', 'core', 'third_party'];

export function engineSourcesDigest(root) {
  const folder = join(root, 'native-engine');
  const inside = PARTS.flatMap((part) => readdirSync(join(folder, part), { recursive: true }).map((file) => `${part}/${file}`));
  const tools = readdirSync(join(folder, 'tools')).filter((file) => file.endsWith('.cpp'));
  const all = createHash('sha256');
  for (const file of ['CMakeLists.txt', 'build_id.cmake', ...tools.map((tool) => `tools/${tool}`), ...inside].sort())
    if (SOURCE.test(file)) all.update(`${file}\0`).update(readFileSync(join(folder, file)));
  return all.digest('hex');
}
