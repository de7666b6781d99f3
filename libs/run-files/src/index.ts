// Reads files that people write, of studies and of runs, and the names of the hub that stand for paths in them.
export { dataSource, type DataChoice } from './data-source.js';
export { hubCache, HubNameError, hubPath, pathWords, type HubKind } from './hub-names.js';
export { readStudy, STUDY_FILE_BYTES_MAX, type StudyFile } from './study-file.js';
export { invalidFile, SOURCE_KEYS, textOfOptionFile, YamlReader, type SourceChoice } from './yaml-reader.js';
export { weightedPath, withWeights, type WeightedPath } from './weighted-path.js';
