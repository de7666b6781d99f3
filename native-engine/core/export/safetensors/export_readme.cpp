#include "export/safetensors/export_readme.h"

#include <algorithm>

#include "export/safetensors/export_config.h"

namespace espalier {
namespace {

constexpr const char* kPlainCard = "---\ntags: [pruned, espalier]\n---\n# Pruned model\n\nWritten by Espalier.\n";

std::string loaders_text(const ExportPlan& plan) {
  const std::string& architecture = plan.config.architecture;
  if (plan.container == ExportContainer::kGguf) {
    const bool uniform = gguf_architecture(plan) != "deci";
    return "`model.gguf` is for llama.cpp and programs that are built on it. Its architecture is `" + gguf_architecture(plan) + "`" +
           (uniform ? ".\n" : ", which has\nwidths of its own for each layer.\n") + "The tokenizer is in the file.\n";
  }
  switch (plan.form) {
    case ExportForm::kMasked:
      return "It is an ordinary Hugging Face folder of a `" + architecture + "`: any program that loads the source model loads it.\n";
    case ExportForm::kPadded:
      return "It is an ordinary Hugging Face folder of a `" + architecture +
             "`, for every loader that reads `head_dim` from config.json\n" + "(transformers 4.45 and newer).\n";
    case ExportForm::kBlocks:
      return "It is for vLLM's `DeciLMForCausalLM`: `vllm serve FOLDER --trust-remote-code`. The configuration class that vLLM asks for\n"
             "is `configuration_decilm.py` in this folder.\n";
    case ExportForm::kCompacted:
      return "transformers loads it with `AutoModelForCausalLM.from_pretrained(FOLDER, trust_remote_code=True)`: no stock architecture "
             "has\n"
             "layers that differ in width, so the model's class is `modeling_espalier.py` in this folder. Espalier loads it too. The "
             "widths\n"
             "of each layer stand in the `espalier` object of config.json. Other loaders refuse the names `EspalierCompactedForCausalLM`\n"
             "and `espalier_compacted`.\n";
  }
  return "";
}

std::string form_text(const ExportPlan& plan) {
  const std::string merged = "soft masks are folded into the weights and LoRA is merged.\n";
  switch (plan.form) {
    case ExportForm::kMasked:
      return "All shapes are those of the dense model; masks are folded into the weights and LoRA is merged.\n";
    case ExportForm::kPadded:
      return "Closed attention heads, MLP units and hidden units are removed, zeros make all layers as wide as the widest,\n" + merged;
    case ExportForm::kBlocks:
      return "Closed attention blocks, MLP units and hidden units are removed, zeros give all kept attention blocks the same heads,\n" +
             merged;
    case ExportForm::kCompacted:
      return "Closed attention heads, MLP units and hidden units are removed, " + merged;
  }
  return "";
}

size_t zeros_in(const std::vector<int64_t>& parts) { return static_cast<size_t>(std::count(parts.begin(), parts.end(), kZeros)); }

}  // namespace

std::vector<std::string> export_notes(const ExportPlan& plan, const std::vector<ExportTensor>& tensors, const ExportRequest& request) {
  std::vector<std::string> notes;
  size_t heads = 0, units = 0, repeated = 0;
  for (const KeptLayer& layer : plan.layers) {
    heads += zeros_in(layer.heads);
    units += zeros_in(layer.units);
    std::vector<int64_t> kv = layer.kv_heads;
    std::erase(kv, kZeros);
    const size_t all = kv.size();
    kv.erase(std::unique(kv.begin(), kv.end()), kv.end());
    repeated += all - kv.size();
  }
  const size_t hidden = zeros_in(plan.hidden);
  const auto count = [](size_t n, const char* one) { return std::to_string(n) + " " + one + (n == 1 ? "" : "s"); };
  if (heads + units + hidden > 0) {
    notes.push_back("Filled up with zeros: " + count(heads, "head") + " and " + count(units, "MLP unit") + " over all layers, " +
                    count(hidden, "hidden unit") + ".");
  }
  if (repeated > 0)
    notes.push_back(count(repeated, "key/value head") + " stored once more, since the masks left the groups of query heads uneven.");
  const auto other = static_cast<size_t>(
      std::count_if(tensors.begin(), tensors.end(), [](const ExportTensor& t) { return !t.vector && t.type != StoredType::kQ8_0; }));
  if (request.dtype == ExportDType::kQ8_0 && other > 0) {
    notes.push_back("Stored as F16, since their rows are no whole number of 32 values: " + count(other, "tensor") + ".");
  }
  if (context_length(plan) < plan.config.max_positions) {
    notes.push_back("The context ends at the source's sliding window, " + std::to_string(context_length(plan)) +
                    " tokens: up to there it is exact.");
  }
  return notes;
}

std::string export_readme(const std::string& model_card, const ExportPlan& plan, const std::vector<std::string>& notes) {
  const std::string card = model_card.empty() ? kPlainCard : model_card;
  std::string text = card + (card.ends_with("\n") ? "\n" : "\n\n") + "## What loads it\n\n" + loaders_text(plan) + "\n" + form_text(plan);
  if (!notes.empty()) text += "\n";
  for (const std::string& note : notes) text += "- " + note + "\n";
  return text;
}

}  // namespace espalier
