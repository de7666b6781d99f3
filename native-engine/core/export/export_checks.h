// Refuses exports that a format or its loaders can't hold. check_export of espalier/export/export.h is one of the checks.
#pragma once
#include "export/export_plan.h"
#include "model/architecture.h"

namespace espalier {

// Returns the architecture by which the model is computed.
const Architecture& computed_as(const ModelConfig& config);

// Both check a plan whose layers are laid out. They throw Error(kNotSupported, "form" | "format", ...).
void check_whole_norms(const ExportPlan& plan);
void check_olmo2(const ExportPlan& plan);

}  // namespace espalier
