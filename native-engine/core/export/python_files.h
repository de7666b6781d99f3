// The Python files that let transformers and vLLM load shapes which they have no class for. Their text is built in.
#pragma once
#include <string>
#include <vector>

#include "export/export_plan.h"

namespace espalier {

struct PythonFile {
  std::string name, text;
};

std::vector<PythonFile> python_files(const ExportPlan& plan);

}  // namespace espalier
