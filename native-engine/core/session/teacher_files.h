// Teachers whose states lie in files. A thread of its own reads a file and checks its digest in advance, so that no step waits for it. It
// is plain C++, and one thread at a time uses it.
#pragma once
#include <future>
#include <map>
#include <memory>
#include <string>

#include "espalier/method/train_state.h"
#include "espalier/model/model_weights.h"

namespace espalier {

using TeacherFileNames = std::map<std::string, std::string>;  // paths by digest; of files, or of folders of slices

class TeacherFiles {
 public:
  // Begins to read the teacher, unless it is already being read or has no file.
  void expect(const std::string& digest, const TeacherFileNames& names, const std::shared_ptr<const ModelWeights>& model,
              const LoraSpec& lora);
  // Waits for the teacher, or reads it now if it was not expected. Throws Error(kTeacherNotLoaded).
  TrainState take(const std::string& digest, const TeacherFileNames& names, const std::shared_ptr<const ModelWeights>& model,
                  const LoraSpec& lora);
  void forget();  // waits for the file that is being read

 private:
  std::string digest_;  // the teacher that is being read; empty where there is none
  std::future<TrainState> state_;
};

}  // namespace espalier
