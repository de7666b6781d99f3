#include "export/safetensors/python_files.h"

namespace espalier {

// CMake makes these texts from the folder python.
extern const char* const kModelingEspalier;
extern const char* const kConfigurationEspalier;
extern const char* const kConfigurationDecilm;

std::vector<PythonFile> python_files(const ExportPlan& plan) {
  if (plan.container != ExportContainer::kSafetensors) return {};
  if (plan.form == ExportForm::kCompacted) {
    return {{"configuration_espalier.py", kConfigurationEspalier}, {"modeling_espalier.py", kModelingEspalier}};
  }
  if (plan.form == ExportForm::kBlocks) return {{"configuration_decilm.py", kConfigurationDecilm}};
  return {};
}

}  // namespace espalier
