#include "export/export_readme.h"

#include "export/export_config.h"

namespace espalier {
namespace {

constexpr const char* kPlainCard = "---\ntags: [pruned, espalier]\n---\n# Pruned model\n\nWritten by Espalier.\n";

std::string form_text(const ExportPlan& plan) {
  if (!plan.compacted) return "All shapes are those of the dense model; masks are folded into the weights and LoRA is merged.\n";
  return "Closed attention heads, MLP units and hidden units are removed, soft masks are folded into the weights and LoRA is merged.\n";
}

std::string loaders_text(const ExportPlan& plan) {
  const std::string& architecture = plan.config.architecture;
  if (!plan.compacted)
    return "It is an ordinary Hugging Face folder of a `" + architecture + "`: whatever loads the source model loads it.\n";
  if (keeps_architecture(plan)) {
    return "All layers came out with the same widths, so it is an ordinary Hugging Face folder of a `" + architecture +
           "`,\nfor loaders that read `head_dim` from config.json.\n";
  }
  return "Only Espalier loads it. Its layers differ in width, which no stock architecture allows: config.json says\n"
         "`EspalierCompactedForCausalLM` and `espalier_compacted`, and other loaders refuse these names. The widths of each layer\n"
         "stand in the `espalier` object of config.json. The form `masked` of the same run loads elsewhere.\n";
}

}  // namespace

std::string export_readme(const std::string& model_card, const ExportPlan& plan) {
  const std::string card = model_card.empty() ? kPlainCard : model_card;
  const std::string gap = card.ends_with("\n") ? "\n" : "\n\n";
  return card + gap + "## What loads this folder\n\n" + loaders_text(plan) + "\n" + form_text(plan);
}

}  // namespace espalier
