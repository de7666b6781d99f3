// Models in GGUF files, as folders in Hugging Face's form.
export { folderOfGguf, ggufCache, isGgufFile, type ConvertOptions } from './convert-gguf.js';
export { GgufError, type GgufProblem } from './gguf-error.js';
