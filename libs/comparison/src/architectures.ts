// The facts of an architecture that decide outside the engine. The table of the engine is native-engine/core/model/architecture.h.

interface ArchitectureFacts {
  /** Its name in sentences. */
  words: string;
  /** llama.cpp has a special architecture for it, in which all layers have one width. */
  alikeInGguf?: true;
  /** In llama.cpp all heads together are as wide as the hidden units, so zeros fill up the smaller of the two. */
  filledUpInGguf?: true;
  /** llama.cpp looks its GELU up in a table of F16, whatever the type of the weights is. */
  geluInF16?: true;
}

const ARCHITECTURES: Record<string, ArchitectureFacts> = {
  LlamaForCausalLM: { words: 'LLaMA' },
  MistralForCausalLM: { words: 'Mistral' },
  Qwen2ForCausalLM: { words: 'Qwen2' },
  Qwen3ForCausalLM: { words: 'Qwen3', alikeInGguf: true },
  SmolLM3ForCausalLM: { words: 'SmolLM3', alikeInGguf: true },
  GraniteForCausalLM: { words: 'Granite' },
  Phi3ForCausalLM: { words: 'Phi3' },
  GemmaForCausalLM: { words: 'Gemma', alikeInGguf: true, geluInF16: true },
  Gemma2ForCausalLM: { words: 'Gemma 2', alikeInGguf: true, geluInF16: true },
  Gemma3ForCausalLM: { words: 'Gemma 3', alikeInGguf: true, geluInF16: true },
  Olmo2ForCausalLM: { words: 'OLMo 2', alikeInGguf: true, filledUpInGguf: true },
};

export const architectureFacts = (name: string): ArchitectureFacts => ARCHITECTURES[name] ?? { words: name };

/** Names the architectures for which a fact holds, as in "Qwen3, SmolLM3 and Gemma 3". */
export function architecturesWith(fact: 'alikeInGguf'): string {
  const names = Object.values(ARCHITECTURES).flatMap((one) => (one[fact] === true ? [one.words] : []));
  return `${names.slice(0, -1).join(', ')} and ${names.at(-1)}`;
}
