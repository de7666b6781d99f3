// The teachers that a session keeps in memory.
#include <algorithm>
#include <utility>

#include "espalier/base/error.h"
#include "session/session_core.h"

namespace espalier {

void SessionCore::name_teacher(const std::string& kept_as, const std::string& digest) {
  const std::lock_guard lock(names_mutex_);
  names_.emplace_back(kept_as, digest);
}

// Names kept teachers by the digests that have arrived. A teacher whose digest another teacher already has is the same teacher, so it is
// removed.
void SessionCore::take_names() {
  const std::lock_guard lock(names_mutex_);
  const auto named = [&](const std::string& name) {
    return std::find_if(teachers_.begin(), teachers_.end(), [&](const NamedTeacher& t) { return t.digest == name; });
  };
  for (const auto& [kept_as, digest] : std::exchange(names_, {})) {
    const auto at = named(kept_as);
    if (at == teachers_.end()) continue;  // it was removed to make room for others
    if (named(digest) == teachers_.end())
      at->digest = digest;
    else
      teachers_.erase(at);
  }
}

bool SessionCore::find_teacher(const std::string& digest) {
  take_names();
  const auto at = std::find_if(teachers_.begin(), teachers_.end(), [&](const NamedTeacher& t) { return t.digest == digest; });
  if (at == teachers_.end()) return false;
  teachers_.splice(teachers_.begin(), teachers_, at);
  return true;
}

std::vector<std::string> SessionCore::load_teacher(const std::string& digest, const std::string& path, bool compared) {
  if (find_teacher(digest)) return teacher_digests();
  const MappedState mapped(path, ErrorCode::kStateCorrupt, "state_file");
  if (const std::string found = compared ? mapped.digest() : digest; found != digest)
    throw Error(ErrorCode::kStateCorrupt, "digest", "the teacher in " + path + " has digest " + found + ", not " + digest);
  keep_teacher(
      digest, [&] { return trainer().keep_teacher(TrainState::deserialize(mapped.bytes(), model_->config(), trainer().layout().lora())); });
  return teacher_digests();
}

void SessionCore::keep_teacher(const std::string& digest, const std::function<std::shared_ptr<const Teacher>()>& keep) {
  if (find_teacher(digest)) return;
  const uint64_t teacher_bytes = static_cast<uint64_t>(trainer().layout().size()) * sizeof(float);
  teachers_.push_front({digest, keep()});
  if (teachers_.size() > teachers_kept(teacher_bytes)) teachers_.pop_back();
}

std::vector<std::string> SessionCore::teacher_digests() {
  take_names();
  std::vector<std::string> out;
  for (const NamedTeacher& teacher : teachers_) out.push_back(teacher.digest);
  return out;
}

void SessionCore::use_teacher(const std::string& digest, const TeacherFileNames& files) {
  if (digest == teacher_in_use_) return;
  if (digest.empty()) {
    trainer().use_intact_teacher();
  } else {
    keep_teacher(digest, [&] { return trainer().keep_teacher(teacher_files_.take(digest, files, model_, trainer().layout().lora())); });
    trainer().use_teacher(teachers_.front().teacher);
  }
  teacher_in_use_ = digest;
}

void SessionCore::expect_teacher(const std::string& digest, const TeacherFileNames& files) {
  if (digest.empty() || digest == teacher_in_use_) return;
  take_names();
  for (const NamedTeacher& t : teachers_) {
    if (t.digest == digest) return trainer().expect_teacher(t.teacher);
  }
  teacher_files_.expect(digest, files, model_, trainer().layout().lora());
}

}  // namespace espalier
