// Reads files that people write, of studies and of runs.
export { dataSource, type DataChoice } from './data-source.js';
export { readStudy, STUDY_FILE_BYTES_MAX, type StudyFile } from './study-file.js';
export { invalidFile, SOURCE_KEYS, textOfOptionFile, YamlReader, type SourceChoice } from './yaml-reader.js';
export { weightedPath, withWeights, type WeightedPath } from './weighted-path.js';
