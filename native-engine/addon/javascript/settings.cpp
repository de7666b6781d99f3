#include "javascript/settings.h"

#include <algorithm>
#include <cstring>
#include <set>
#include <type_traits>

#include "session/settings.h"

namespace espalier::addon {
namespace {

enum class Missing { kRefused, kLeft };

const char* target_name(size_t projection) { return std::strrchr(kProjectionNames[projection], '.') + 1; }

// A visitor that sets each visited value from the field of its name.
class Reader {
 public:
  Reader(const JsObject& from, Missing missing) : from_(from), missing_(missing) {}

  void operator()(const char* name, int64_t& value, int64_t least = 1) {
    if (wanted(name)) value = from_.integer(name, least, UINT32_MAX);
  }
  void operator()(const char* name, uint64_t& value) {
    if (wanted(name)) value = from_.unsigned64(name);
  }
  void operator()(const char* name, double& value) {
    if (wanted(name)) value = from_.number(name);
  }
  void operator()(const char* name, bool& value) {
    if (wanted(name)) value = from_.boolean(name);
  }
  void operator()(const char* name, Negated opposite) {
    if (wanted(name)) opposite.value = !from_.boolean(name);
  }
  void operator()(const char* name, std::array<bool, kProjectionCount>& targets) {
    if (!wanted(name)) return;
    targets.fill(false);
    for (const std::string& target : from_.strings(name)) {
      size_t p = 0;
      while (p < kProjectionCount && target != target_name(p)) ++p;
      if (p == kProjectionCount) from_.fail(name, "of q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj, down_proj");
      targets[p] = true;
    }
  }
  void operator()(const char* name, BlockGates& gates) {
    if (!wanted(name)) return;
    gates = {};
    std::set<std::string> missing(kGatesOfAll.begin(), kGatesOfAll.end());
    for (const std::string& word : from_.strings(name)) {
      const auto* block = std::find_if(kBlockGates.begin(), kBlockGates.end(), [&](const auto& one) { return word == one.first; });
      if (block != kBlockGates.end())
        gates.*block->second = true;
      else if (missing.erase(word) == 0)
        from_.fail(name, "of head, unit, hidden, kv-group, attention, mlp, each once");
    }
    if (!missing.empty()) from_.fail(name, "with head, unit and hidden, which every state has");
  }
  template <typename Enum>
    requires std::is_enum_v<Enum>
  void operator()(const char* name, Enum& value) {
    if (wanted(name)) value = from_.choice(name, Words<Enum>::all);
  }

  // Refuses fields whose name no visited value has. Call it after all values were visited.
  void refuse_others() const {
    for (const std::string& name : from_.keys()) {
      if (!known_.contains(name)) from_.fail(name.c_str(), "left out: no part of the engine takes such a setting there");
    }
  }

 private:
  bool wanted(const char* name) {
    known_.insert(name);
    return missing_ == Missing::kRefused || from_.has(name);
  }

  const JsObject& from_;
  Missing missing_;
  std::set<std::string> known_;
};

// A visitor that writes each visited value into the field of its name.
class Writer {
 public:
  explicit Writer(Napi::Env env) : env_(env), out_(Napi::Object::New(env)) {}

  void operator()(const char* name, int64_t value, int64_t = 1) { out_.Set(name, static_cast<double>(value)); }
  void operator()(const char* name, uint64_t value) { out_.Set(name, Napi::BigInt::New(env_, value)); }
  void operator()(const char* name, double value) { out_.Set(name, value); }
  void operator()(const char* name, bool value) { out_.Set(name, value); }
  void operator()(const char* name, Negated opposite) { out_.Set(name, !opposite.value); }
  void operator()(const char* name, const std::array<bool, kProjectionCount>& targets) {
    Napi::Array names = Napi::Array::New(env_);
    for (size_t p = 0; p < kProjectionCount; ++p)
      if (targets[p]) names.Set(names.Length(), target_name(p));
    out_.Set(name, names);
  }
  void operator()(const char* name, const BlockGates& gates) {
    Napi::Array words = Napi::Array::New(env_);
    for (const char* word : kGatesOfAll) words.Set(words.Length(), word);
    for (const auto& [word, member] : kBlockGates)
      if (gates.*member) words.Set(words.Length(), word);
    out_.Set(name, words);
  }
  template <typename Enum>
    requires std::is_enum_v<Enum>
  void operator()(const char* name, Enum value) {
    for (const auto& [word, one] : Words<Enum>::all)
      if (one == value) out_.Set(name, word);
  }

  Napi::Object result() const { return out_; }

 private:
  Napi::Env env_;
  Napi::Object out_;
};

void read_session(const JsObject& settings, Missing missing, TrainerOptions& trainer, LoraSpec& lora) {
  Reader reader(settings, missing);
  each_session_setting(trainer, lora, reader);
  reader.refuse_others();
}

void read_training(const JsObject& settings, Missing missing, SegmentPlan& plan) {
  Reader reader(settings, missing);
  each_training_setting(plan, reader);
  reader.refuse_others();
}

}  // namespace

void read_session_settings(const JsObject& options, TrainerOptions& trainer, LoraSpec& lora) {
  read_session(options.object("settings"), Missing::kRefused, trainer, lora);
}

void read_training_settings(const JsObject& options, SegmentPlan& plan) {
  read_training(options.object("settings"), Missing::kRefused, plan);
}

Napi::Value settings_in_effect(Napi::Env env, const JsObject& given) {
  TrainerOptions trainer;
  LoraSpec lora;
  SegmentPlan plan;
  read_session(given.object("session"), Missing::kLeft, trainer, lora);
  read_training(given.object("training"), Missing::kLeft, plan);
  Writer session(env), training(env);
  each_session_setting(trainer, lora, session);
  each_training_setting(plan, training);
  Napi::Object out = Napi::Object::New(env);
  out.Set("session", session.result());
  out.Set("training", training.result());
  return out;
}

}  // namespace espalier::addon
