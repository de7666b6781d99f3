// config.json of an exported folder.
#pragma once
#include <string>

#include "export/export_plan.h"

namespace espalier {

// The source's own config.json (`source_json`; empty: one is made from `source`), with the fields that the export changed.
// The result parses to plan.config.
std::string export_config_json(const std::string& source_json, const ModelConfig& source, const ExportPlan& plan, ExportDType dtype);

// The class name that config.json gives: the source's, so that every loader of it reads the folder, unless the shapes need another.
std::string folder_architecture(const ExportPlan& plan);

}  // namespace espalier
