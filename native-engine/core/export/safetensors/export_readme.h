// Makes the README.md of an exported folder, and the notes for the user of an export.
#pragma once
#include <string>
#include <vector>

#include "export/export_plan.h"
#include "export/export_tensors.h"

namespace espalier {

// Returns sentences about what is special in this export: zeros that were added, shorter contexts, other number types.
std::vector<std::string> export_notes(const ExportPlan& plan, const std::vector<ExportTensor>& tensors, const ExportRequest& request);

// Returns `model_card` (where it is empty, a plain one), then the programs that load the export, then the notes.
std::string export_readme(const std::string& model_card, const ExportPlan& plan, const std::vector<std::string>& notes);

}  // namespace espalier
