// The option that names the model of a launch or a plan.
import { modelFolder } from './parse.js';

export const MODEL_OPTION = [
  '--model <folder>',
  'Hugging Face folder: config.json, *.safetensors, tokenizer.json (or one of these files); a GGUF file; or org/name, ' +
    'org/name@revision, org/name/FILE.gguf of the Hugging Face hub',
  modelFolder,
] as const;
