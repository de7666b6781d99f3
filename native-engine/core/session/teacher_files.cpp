#include "session/teacher_files.h"

#include <utility>

#include "espalier/base/error.h"
#include "files/sliced_file.h"

namespace espalier {
namespace {

// Reads a teacher. All errors of the file have one remedy: the orchestrator sends the teacher's bytes.
TrainState read_teacher(const std::string& digest, const std::string& file, const ModelWeights& model, const LoraSpec& lora) {
  const auto refuse = [&](const std::string& what) {
    throw Error(ErrorCode::kTeacherNotLoaded, "teacher_files", "teacher " + digest + " can't be had from its file: " + what);
  };
  try {
    const MappedState mapped(file, ErrorCode::kTeacherNotLoaded, "teacher_files");
    const std::string found = mapped.digest();
    if (found != digest) refuse(file + " has digest " + found);
    return TrainState::deserialize(mapped.bytes(), model.config(), lora);
  } catch (const Error& error) {
    if (error.code() == ErrorCode::kTeacherNotLoaded) throw;
    refuse(error.what());
    throw;
  }
}

}  // namespace

void TeacherFiles::expect(const std::string& digest, const TeacherFileNames& names, const std::shared_ptr<const ModelWeights>& model,
                          const LoraSpec& lora) {
  const auto name = names.find(digest);
  if (digest == digest_ || name == names.end()) return;
  forget();
  state_ = std::async(std::launch::async, [digest, file = name->second, model, lora] { return read_teacher(digest, file, *model, lora); });
  digest_ = digest;
}

TrainState TeacherFiles::take(const std::string& digest, const TeacherFileNames& names, const std::shared_ptr<const ModelWeights>& model,
                              const LoraSpec& lora) {
  expect(digest, names, model, lora);
  if (digest != digest_) throw Error(ErrorCode::kTeacherNotLoaded, "", "teacher " + digest + " is not loaded in this session");
  digest_.clear();
  return state_.get();
}

void TeacherFiles::forget() {
  digest_.clear();
  state_ = {};  // waits until the file has been read
}

}  // namespace espalier
