// The JavaScript class `Session`: one model, one trainable state. Every method that computes returns a promise, and is refused
// with ENGINE_BUSY while an earlier one runs.
#pragma once
#include <napi.h>

#include <atomic>
#include <memory>
#include <utility>
#include <vector>

#include "session/session_core.h"
#include "sessions/session_jobs.h"

namespace espalier::addon {

class Session : public Napi::ObjectWrap<Session> {
 public:
  static Napi::Function define(Napi::Env env);
  explicit Session(const Napi::CallbackInfo& info) : Napi::ObjectWrap<Session>(info), core_(std::make_shared<SessionCore>()) {}

 private:
  using Info = Napi::CallbackInfo;
  Napi::Value load(const Info& info);
  Napi::Value plan_memory(const Info& info);
  Napi::Value open(const Info& info);
  Napi::Value release(const Info& info);
  Napi::Value set_data(const Info& info);
  Napi::Value initialise(const Info& info);
  Napi::Value import_state(const Info& info);
  Napi::Value export_state(const Info& info);
  Napi::Value name_teacher(const Info& info);
  Napi::Value summary(const Info& info);
  Napi::Value describe_state(const Info& info);
  Napi::Value load_teacher(const Info& info);
  Napi::Value train(const Info& info);
  Napi::Value evaluate(const Info& info);
  Napi::Value open_scorer(const Info& info);
  Napi::Value score(const Info& info);
  Napi::Value close_scorer(const Info& info);
  Napi::Value generate(const Info& info);
  Napi::Value stop_text(const Info& info);
  Napi::Value measure_speed(const Info& info);
  Napi::Value measure_speed_table(const Info& info);
  Napi::Value export_model(const Info& info);
  Napi::Value cancel(const Info& info);

  // Starts a job. Where the second argument of `info` is a function, it gets the job's reports.
  Napi::Value start(const Info& info, Job job) { return start_at(JobPlace::kCompute, info, std::move(job)); }
  Napi::Value start_beside(const Info& info, Job job) { return start_at(JobPlace::kBeside, info, std::move(job)); }
  Napi::Value start_at(JobPlace place, const Info& info, Job job);

  // One flag for each prompt, in order: whether the caller has stopped its text.
  using StoppedTexts = std::vector<std::atomic<bool>>;

  std::shared_ptr<SessionCore> core_;  // shared, because jobs hold it too
  std::shared_ptr<StoppedTexts> stopped_;
  SessionJobs jobs_;
};

}  // namespace espalier::addon
