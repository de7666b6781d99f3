// Teachers whose states lie in files. A file is read, and its digest checked, by a thread of its own, so that it is there when its turn
// comes and no step waits for it. Plain C++; used by one thread at a time.
#pragma once
#include <future>
#include <map>
#include <memory>
#include <string>

#include "espalier/model_weights.h"
#include "espalier/train_state.h"

namespace espalier {

using TeacherFileNames = std::map<std::string, std::string>;  // by digest

class TeacherFiles {
 public:
  // Begins to read the teacher, unless it is being read already or is in no file.
  void expect(const std::string& digest, const TeacherFileNames& names, const std::shared_ptr<const ModelWeights>& model,
              const LoraSpec& lora);
  // Waits for the teacher; reads it now where it was not expected. Throws Error(kTeacherNotLoaded).
  TrainState take(const std::string& digest, const TeacherFileNames& names, const std::shared_ptr<const ModelWeights>& model,
                  const LoraSpec& lora);
  void forget();  // waits for what is under way

 private:
  std::string digest_;  // of the one under way; empty: none
  std::future<TrainState> state_;
};

}  // namespace espalier
