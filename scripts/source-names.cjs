// Names for dependency-cruiser. package.json says that `#event-store` and its like are compiled files, which the import rules leave out. So
// the rules see the sources behind these names in their place.
const { readFileSync } = require('node:fs');
const { join } = require('node:path');

const root = join(__dirname, '..');
const { imports } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
const sourceOf = (compiled) => join(root, compiled.replace(/^\.\/dist\//, '').replace(/\.js$/, '.ts'));

module.exports = { resolve: { alias: Object.fromEntries(Object.entries(imports).map(([name, file]) => [`${name}$`, sourceOf(file)])) } };
