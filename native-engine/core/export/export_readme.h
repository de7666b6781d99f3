// README.md of an exported folder.
#pragma once
#include <string>

#include "export/export_plan.h"

namespace espalier {

// `model_card` (empty: a plain one), then what loads the folder.
std::string export_readme(const std::string& model_card, const ExportPlan& plan);

}  // namespace espalier
