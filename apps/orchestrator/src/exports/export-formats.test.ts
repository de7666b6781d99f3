import { engineV1, v1 } from '#protocol';
import { chooseExport } from './export-formats.js';

const choose = (request: Partial<v1.ExportRunRequest>, architecture = 'LlamaForCausalLM'): ReturnType<typeof chooseExport> =>
  chooseExport(v1.ExportRunRequest.fromPartial(request), architecture);
const { EXPORT_CONTAINER_GGUF, EXPORT_CONTAINER_SAFETENSORS } = engineV1.ExportContainer;

test.each([
  [{}, 'hf-remote', 'compacted', EXPORT_CONTAINER_SAFETENSORS, 1],
  [{ form: 'compacted' }, 'hf-remote', 'compacted', EXPORT_CONTAINER_SAFETENSORS, 1],
  [{ form: 'masked' }, 'masked', 'masked', EXPORT_CONTAINER_SAFETENSORS, 1],
  [{ format: 'hf', multipleOf: 64 }, 'hf', 'padded', EXPORT_CONTAINER_SAFETENSORS, 64],
  [{ format: 'vllm' }, 'vllm', 'blocks', EXPORT_CONTAINER_SAFETENSORS, 1],
  [{ format: 'gguf' }, 'gguf', 'compacted', EXPORT_CONTAINER_GGUF, 1],
  [{ format: 'gguf', form: 'padded', dtype: 'f16' }, 'gguf', 'padded', EXPORT_CONTAINER_GGUF, 1],
  [{ format: 'gguf', dtype: 'q8_0' }, 'gguf', 'compacted', EXPORT_CONTAINER_GGUF, 32], // rows are stored in blocks of 32
  [{ format: 'gguf', dtype: 'q4_k_m' }, 'gguf', 'compacted', EXPORT_CONTAINER_GGUF, 256],
  [{ format: 'gguf', dtype: 'q8_0', multipleOf: 1 }, 'gguf', 'compacted', EXPORT_CONTAINER_GGUF, 1],
])('%j is %s, %s', (request, format, form, container, multipleOf) => {
  const choice = choose(request);
  expect(choice).toMatchObject({ format, form, multipleOf });
  expect(choice.engine.container).toBe(container);
});

test('what llama.cpp quantizes the engine writes as the source has it', () => {
  expect(choose({ format: 'gguf', dtype: 'q4_k_m' }).engine.dtype).toBe('');
  expect(choose({ format: 'gguf', dtype: 'q8_0' }).engine.dtype).toBe('q8_0');
});

test.each([
  ...['Qwen3ForCausalLM', 'SmolLM3ForCausalLM', 'Olmo2ForCausalLM'],
  ...['GemmaForCausalLM', 'Gemma2ForCausalLM', 'Gemma3ForCausalLM'],
])('all layers of a %s are alike in GGUF, unless another form is named', (architecture) => {
  expect(choose({ format: 'gguf' }, architecture).form).toBe('padded');
  expect(choose({ format: 'gguf', form: 'masked' }, architecture).form).toBe('masked');
  expect(choose({ format: 'hf-remote' }, architecture).form).toBe('compacted');
});

test.each([
  [{ format: 'onnx' }, 'format', 'must be "hf-remote", "hf", "gguf", "vllm" or "masked", is "onnx"'],
  [{ form: 'padded' }, 'form', 'must be "compacted" or "masked" where no format is named'],
  [{ format: 'hf', form: 'compacted' }, 'form', 'must be "padded" in the format hf, is "compacted"'],
  [{ format: 'vllm', dtype: 'q8_0' }, 'dtype', 'must be "bf16", "f16" or "f32" in the format vllm'],
  [{ format: 'gguf', dtype: 'q4_0' }, 'dtype', 'must be "bf16", "f16", "f32", "q8_0", "q3_k_m", "q4_k_s"'],
  [{ format: 'gguf', multipleOf: 1025 }, 'multiple_of', 'must be from 1 to 1024'],
])('%j is refused by name', (request, field, description) => {
  const refused = (): unknown => {
    try {
      return choose(request);
    } catch (error) {
      return (error as { violations: unknown[] }).violations[0];
    }
  };
  expect(refused()).toMatchObject({ field, description: expect.stringContaining(description) as string });
});
