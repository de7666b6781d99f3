// Makes the config.json of an exported folder.
#pragma once
#include <string>

#include "export/export_plan.h"

namespace espalier {

// Returns the source's own config.json (`source_json`) with the fields that the export changed. Where `source_json` is empty, the config is
// made from `source`. The result parses to plan.config.
std::string export_config_json(const std::string& source_json, const ModelConfig& source, const ExportPlan& plan, ExportDType dtype);

// Returns the class name that config.json gives: the source's, so that every loader of the source reads the folder, unless the shapes need
// another.
std::string folder_architecture(const ExportPlan& plan);

}  // namespace espalier
