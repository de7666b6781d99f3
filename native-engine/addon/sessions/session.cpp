#include "sessions/session.h"

#include <chrono>
#include <utility>

#include "espalier/base/error.h"
#include "files/sha256.h"
#include "javascript/js_error.h"
#include "javascript/js_reader.h"
#include "javascript/options.h"
#include "javascript/to_js.h"

namespace espalier::addon {
namespace {

// Turns a result of the core into the result of the job.
template <typename Result>
MakeValue value_of(Result result) {
  return [result = std::move(result)](Napi::Env env) { return to_js(env, result); };
}

double seconds_on_clock() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

MakeValue nothing() {
  return [](Napi::Env env) { return env.Undefined(); };
}

MakeValue number_of(double number) {
  return [number](Napi::Env env) -> Napi::Value { return Napi::Number::New(env, number); };
}

}  // namespace

Napi::Function Session::define(Napi::Env env) {
  return DefineClass(env, "Session",
                     {InstanceMethod<&Session::load>("load"),
                      InstanceMethod<&Session::plan_memory>("planMemory"),
                      InstanceMethod<&Session::open>("open"),
                      InstanceMethod<&Session::release>("release"),
                      InstanceMethod<&Session::set_data>("setData"),
                      InstanceMethod<&Session::initialise>("initialise"),
                      InstanceMethod<&Session::import_state>("importState"),
                      InstanceMethod<&Session::export_state>("exportState"),
                      InstanceMethod<&Session::name_teacher>("nameTeacher"),
                      InstanceMethod<&Session::describe_state>("describeState"),
                      InstanceMethod<&Session::summary>("summary"),
                      InstanceMethod<&Session::load_teacher>("loadTeacher"),
                      InstanceMethod<&Session::train>("train"),
                      InstanceMethod<&Session::evaluate>("evaluate"),
                      InstanceMethod<&Session::open_scorer>("openScorer"),
                      InstanceMethod<&Session::score>("score"),
                      InstanceMethod<&Session::close_scorer>("closeScorer"),
                      InstanceMethod<&Session::generate>("generate"),
                      InstanceMethod<&Session::stop_text>("stopText"),
                      InstanceMethod<&Session::measure_speed>("measureSpeed"),
                      InstanceMethod<&Session::measure_speed_table>("measureSpeedTable"),
                      InstanceMethod<&Session::export_model>("exportModel"),
                      InstanceMethod<&Session::cancel>("cancel")});
}

Napi::Value Session::start_at(JobPlace place, const Info& info, Job job) {
  Napi::Function on_reports;
  if (info.Length() > 1 && !info[1].IsUndefined() && !info[1].IsNull()) {
    if (!info[1].IsFunction()) throw Error(ErrorCode::kInvalidArgument, "onReports", "onReports must be a function");
    on_reports = info[1].As<Napi::Function>();
  }
  return jobs_.start(info.Env(), info.This().As<Napi::Object>(), on_reports, std::move(job), place);
}

Napi::Value Session::load(const Info& info) {
  return guarded(info.Env(), [&] {
    const JsObject options(info[0], "");
    const std::string folder = options.string("folder");
    const bool read_weights = options.boolean("readWeights");
    return start_beside(info, [core = core_, folder, read_weights](JobContext& context) {
      return value_of(describe_model(core->load(folder, context.cancelled()), read_weights, context.cancelled()));
    });
  });
}

Napi::Value Session::plan_memory(const Info& info) {
  return guarded(info.Env(), [&] {
    const JsObject options(info[0], "");
    return start_beside(info, [folder = options.string("folder"), session = read_session_options(options)](JobContext& context) {
      const auto model = load_model(folder, context.cancelled());
      return value_of(plan_session_memory(*model, session.lora, session.trainer, session.slice_bytes));
    });
  });
}

Napi::Value Session::open(const Info& info) {
  return guarded(info.Env(), [&] {
    const JsObject options(info[0], "");
    return start(info, [core = core_, session = read_session_options(options)](JobContext&) {
      return number_of(static_cast<double>(core->open(session.lora, session.trainer, session.slice_bytes)));
    });
  });
}

Napi::Value Session::release(const Info& info) {
  return guarded(info.Env(), [&] {
    return start_beside(info, [core = core_](JobContext&) {
      core->close();
      return nothing();
    });
  });
}

Napi::Value Session::set_data(const Info& info) {
  return guarded(info.Env(), [&] {
    // a shared_ptr, because std::function copies what it holds, and the words may take gigabytes
    const auto sources = std::make_shared<std::vector<TokenSourceOptions>>(read_token_sources(JsObject(info[0], "")));
    return start(info, [core = core_, sources](JobContext&) {
      TrainingText text;
      for (TokenSourceOptions& source : *sources) {
        std::shared_ptr<const TokenText> tokens;
        if (source.files.empty())
          tokens = std::make_shared<const TokenData>(token_data(std::move(source.words)));
        else
          tokens = token_files(source.files);
        text.sources.push_back({std::move(tokens), source.parts});
      }
      return number_of(static_cast<double>(core->set_data(std::move(text))));
    });
  });
}

Napi::Value Session::initialise(const Info& info) {
  return guarded(info.Env(), [&] {
    const JsObject options(info[0], "");
    const uint64_t seed = options.unsigned64("seed");
    const ShapeTarget shape = read_shape_target(options);
    const double closed = options.number("closed");
    return start(info, [core = core_, seed, shape, closed](JobContext&) {
      core->initialise(seed, shape, closed);
      return value_of(core->summary());
    });
  });
}

Napi::Value Session::import_state(const Info& info) {
  return guarded(info.Env(), [&] {
    const JsObject options(info[0], "");
    return start(info, [core = core_, path = options.string("stateFile"), digest = options.string("digest")](JobContext&) {
      core->import_state(path, digest);
      return value_of(core->summary());
    });
  });
}

Napi::Value Session::export_state(const Info& info) {
  return guarded(info.Env(), [&] {
    return start(info, [core = core_](JobContext&) -> MakeValue {
      const auto bytes = std::make_shared<FileBytes>(core->export_state());
      return [bytes, digest = sha256_hex(*bytes)](Napi::Env env) -> Napi::Value {
        Napi::Object out = Napi::Object::New(env);
        out.Set("digest", Napi::String::New(env, digest));
        out.Set("bytes", to_js_bytes(env, bytes));
        return out;
      };
    });
  });
}

Napi::Value Session::describe_state(const Info& info) {
  return guarded(info.Env(), [&] {
    return start_beside(
        info, [core = core_, file = JsObject(info[0], "").string("stateFile")](JobContext&) { return value_of(core->summary_in(file)); });
  });
}

Napi::Value Session::summary(const Info& info) {
  return guarded(info.Env(), [&] { return start(info, [core = core_](JobContext&) { return value_of(core->summary()); }); });
}

Napi::Value Session::load_teacher(const Info& info) {
  return guarded(info.Env(), [&] {
    const JsObject options(info[0], "");
    const bool compared = options.boolean("isCompared");
    return start(info, [core = core_, digest = options.string("digest"), path = options.string("stateFile"), compared](JobContext&) {
      return value_of(core->load_teacher(digest, path, compared));
    });
  });
}

// This is not a job, since a training may be running.
Napi::Value Session::name_teacher(const Info& info) {
  return guarded(info.Env(), [&] {
    const JsObject options(info[0], "");
    core_->name_teacher(options.string("keptAs"), options.string("digest"));
    return info.Env().Undefined();
  });
}

Napi::Value Session::train(const Info& info) {
  return guarded(info.Env(), [&] {
    const JsObject options(info[0], "");
    const auto plan = std::make_shared<SegmentPlan>(read_segment_plan(options));
    const int64_t first_step = options.integer("firstStep", 0, INT64_C(1) << 53);
    const SegmentTeachers teachers = read_teachers(options);
    ReturnedState returned;
    if (options.boolean("returnState")) {
      const bool later = options.has("digestLater") && options.boolean("digestLater");
      returned = {later ? ReturnedBytes::kBytesWithoutDigest : ReturnedBytes::kBytes,
                  options.has("stateFolder") ? options.string("stateFolder") : ""};
    }
    return start(info, [core = core_, plan, first_step, teachers, returned](JobContext& context) {
      const auto on_step = [&](const StepReport& report) { context.report(value_of(TimedStep{report, seconds_on_clock()})); };
      // A calibration reports once after each batch or layer, and the reader of the report may stop the job. So each report is delivered at
      // once.
      plan->on_calibrated = [&](double share) { context.report(number_of(share), true); };
      return value_of(core->train(*plan, first_step, teachers, returned, on_step, context.cancelled()));
    });
  });
}

Napi::Value Session::evaluate(const Info& info) {
  return guarded(info.Env(), [&] {
    const auto options = std::make_shared<const EvaluateOptions>(read_evaluate_options(JsObject(info[0], "")));
    return start(info, [core = core_, options](JobContext& context) {
      const auto on_progress = [&](double share) { context.report(number_of(share)); };
      return value_of(core->evaluate(*options, on_progress, context.cancelled()));
    });
  });
}

Napi::Value Session::open_scorer(const Info& info) {
  return guarded(info.Env(), [&] {
    const auto options = std::make_shared<const ScorerOptions>(read_scorer_options(JsObject(info[0], "")));
    return start(info, [core = core_, options](JobContext&) {
      core->open_scorer(*options);
      return nothing();
    });
  });
}

Napi::Value Session::score(const Info& info) {
  return guarded(info.Env(), [&] {
    const auto batch = std::make_shared<const ScoreBatch>(read_score_batch(JsObject(info[0], "")));
    return start(info, [core = core_, batch](JobContext& context) {
      const auto on_progress = [&](double share) { context.report(number_of(share)); };
      return value_of(core->score(*batch, on_progress, context.cancelled()));
    });
  });
}

Napi::Value Session::close_scorer(const Info& info) {
  return guarded(info.Env(), [&] {
    return start(info, [core = core_](JobContext&) {
      core->close_scorer();
      return nothing();
    });
  });
}

Napi::Value Session::generate(const Info& info) {
  return guarded(info.Env(), [&] {
    const auto options = std::make_shared<const GenerateOptions>(read_generate_options(JsObject(info[0], "")));
    const auto stopped = std::make_shared<StoppedTexts>(options->request.prompts.size());
    const Napi::Value promise = start(info, [core = core_, options, stopped](JobContext& context) {
      const auto on_token = [&](const GeneratedToken& token) { context.report(value_of(token), true); };
      const auto is_stopped = [&](int64_t prompt) { return (*stopped)[static_cast<size_t>(prompt)].load(); };
      return value_of(core->generate(*options, on_token, is_stopped, context.cancelled()));
    });
    stopped_ = stopped;  // set after start, which refuses while another job runs
    return promise;
  });
}

Napi::Value Session::stop_text(const Info& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    const int64_t prompt = JsObject(info[0], "").integer("prompt", 0, INT32_MAX);
    if (stopped_ && prompt < static_cast<int64_t>(stopped_->size())) (*stopped_)[static_cast<size_t>(prompt)] = true;
    return info.Env().Undefined();
  });
}

Napi::Value Session::measure_speed(const Info& info) {
  return guarded(info.Env(), [&] {
    const MeasureOptions options = read_measure_options(JsObject(info[0], ""));
    return start(info, [core = core_, options](JobContext& context) {
      const auto on_progress = [&](double share) { context.report(number_of(share)); };
      return value_of(core->measure_speed(options, on_progress, context.cancelled()));
    });
  });
}

Napi::Value Session::measure_speed_table(const Info& info) {
  return guarded(info.Env(), [&] {
    const JsObject options(info[0], "");
    return start(info, [folder = options.string("folder"), asked = read_speed_table_options(options)](JobContext& context) {
      const auto on_progress = [&](double share) { context.report(number_of(share)); };
      const auto model = load_model(folder, context.cancelled());
      return value_of(espalier::measure_speed_table(model->config(), asked, on_progress, context.cancelled()));
    });
  });
}

Napi::Value Session::export_model(const Info& info) {
  return guarded(info.Env(), [&] {
    const JsObject options(info[0], "");
    return start_beside(info,
                        [core = core_, file = options.string("stateFile"), request = read_export_request(options)](JobContext& context) {
                          const auto on_progress = [&](double share) { context.report(number_of(share)); };
                          return value_of(core->export_to(file, request, on_progress, context.cancelled()));
                        });
  });
}

Napi::Value Session::cancel(const Info& info) {
  jobs_.cancel();
  return info.Env().Undefined();
}

}  // namespace espalier::addon
