// The Python files by which transformers and vLLM load shapes that they have no class for. Their texts are built into the program.
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
