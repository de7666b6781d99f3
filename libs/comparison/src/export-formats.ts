// The formats of exports, in the order in which help and forms name them, and which programs load each.
export const EXPORT_FORMATS = {
  'hf-remote': 'transformers with trust_remote_code, each layer as wide as its own',
  hf: 'transformers, vLLM and other programs that load the original, all layers as wide as the widest',
  gguf: 'llama.cpp',
  vllm: 'vLLM (DeciLM), each layer as wide as its own',
  masked: 'the full size, with zeros where it was pruned',
};
export type ExportFormat = keyof typeof EXPORT_FORMATS;
export const EXPORT_FORMAT_NAMES = Object.keys(EXPORT_FORMATS) as ExportFormat[];
