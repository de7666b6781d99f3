#include "sessions/session_jobs.h"

#include <chrono>
#include <condition_variable>
#include <mutex>
#include <utility>
#include <vector>

#include "javascript/js_error.h"
#include "sessions/compute_thread.h"

namespace espalier::addon {

namespace {
// The event loop is woken for reports at most this often. A user who watches sees no difference, and a step of a small model, which takes
// only a few milliseconds on all cores, is not disturbed by each of its reports.
constexpr auto kReportInterval = std::chrono::milliseconds(750);

// The jobs of the process that have not settled. Each environment has an event loop of its own.
std::mutex unsettled_mutex;
std::vector<std::weak_ptr<RunningJob>> unsettled;
}  // namespace

struct RunningJob final : JobContext, ComputeWork, std::enable_shared_from_this<RunningJob> {
  RunningJob(Napi::Env e, SessionJobs* s, Job j) : env(e), session(s), job(std::move(j)), deferred(Napi::Promise::Deferred::New(e)) {}

  const std::atomic<bool>& cancelled() const override { return cancel; }

  // Called by the thread that runs the job.
  void report(MakeValue value, bool at_once) override {
    bool wake = false;
    {
      const std::lock_guard lock(mutex);
      reports.push_back(std::move(value));
      const auto now = std::chrono::steady_clock::now();
      wake = !wake_pending && (at_once || now - last_wake >= kReportInterval);
      if (wake) {
        wake_pending = true;
        last_wake = now;
      }
    }
    if (wake) call(&RunningJob::deliver_reports);
  }

  void run() override {
    try {
      result = job(*this);
    } catch (...) {
      error = std::current_exception();
    }
    job = nullptr;  // the objects that the job holds are destroyed on the thread that used them
    call(&RunningJob::settle);
    // Last, since Node may be gone as soon as a waiter is told.
    const std::lock_guard lock(mutex);
    finished = true;
    finished_signal.notify_all();
  }

  // Queues a call of a member function on the event loop. Once the environment closes, the call is dropped, because no caller waits for the
  // job any more.
  void call(void (RunningJob::*member)(Napi::Function)) {
    const auto self = shared_from_this();
    on_loop.NonBlockingCall([self, member](Napi::Env callback_env, Napi::Function on_reports) {
      if (static_cast<napi_env>(callback_env) != nullptr) (self.get()->*member)(on_reports);
    });
  }

  // Called by the event loop.
  void deliver_reports(Napi::Function on_reports) {
    std::vector<MakeValue> batch;
    {
      const std::lock_guard lock(mutex);
      batch.swap(reports);
      wake_pending = false;
    }
    if (batch.empty() || !callback_error.IsEmpty()) return;
    const Napi::HandleScope scope(env);
    try {
      const Napi::Array values = Napi::Array::New(env, batch.size());
      for (uint32_t i = 0; i < batch.size(); ++i) values.Set(i, batch[i](env));
      on_reports.Call({values});
    } catch (const Napi::Error& e) {
      callback_error = e;  // the caller's function failed: the job is stopped, and its promise is rejected with this error
      cancel = true;
    }
  }

  void settle(Napi::Function on_reports) {
    deliver_reports(on_reports);
    napi_remove_env_cleanup_hook(env, &RunningJob::wait_for_end, this);
    const auto self = shared_from_this();
    forget(this);
    session->current_.reset();
    on_loop.Release();
    const Napi::HandleScope scope(env);
    try {
      if (!callback_error.IsEmpty()) {
        deferred.Reject(callback_error.Value());
      } else if (error) {
        deferred.Reject(to_js_error(env, error).Value());
      } else {
        deferred.Resolve(result(env));
      }
    } catch (const Napi::Error& e) {
      deferred.Reject(e.Value());
    } catch (...) {
      deferred.Reject(to_js_error(env, std::current_exception()).Value());
    }
    let_go();
  }

  // Drops the references to JavaScript values. Only the event loop may drop them, but this object may be destroyed on either thread.
  void let_go() {
    owner.Reset();
    callback_error = Napi::Error();
  }

  // Runs when the environment closes while a job runs (process.exit). The thread must have left the engine and Node-API before their memory
  // is freed.
  static void wait_for_end(void* data) {
    auto* self = static_cast<RunningJob*>(data);
    forget(self);
    self->end();
    self->let_go();
  }

  static void forget(const RunningJob* job) {
    const std::lock_guard lock(unsettled_mutex);
    std::erase_if(unsettled, [&](const std::weak_ptr<RunningJob>& one) {
      const auto other = one.lock();
      return !other || other.get() == job;
    });
  }

  // Cancels the job and waits until no thread runs it.
  void end() {
    cancel = true;
    const bool waited = session->compute_->take_back(this);
    std::unique_lock lock(mutex);
    finished = finished || waited;
    finished_signal.wait(lock, [&] { return finished; });
  }

  Napi::Env env;
  SessionJobs* session;
  Job job;
  Napi::Promise::Deferred deferred;
  Napi::ThreadSafeFunction on_loop;
  Napi::ObjectReference owner;
  Napi::Error callback_error;
  std::atomic<bool> cancel{false};
  MakeValue result;
  std::exception_ptr error;

  std::mutex mutex;
  std::condition_variable finished_signal;
  bool finished = false;
  bool wake_pending = false;
  // Starts with the job, so that a short job reports only at its end.
  std::chrono::steady_clock::time_point last_wake = std::chrono::steady_clock::now();
  std::vector<MakeValue> reports;
};

SessionJobs::SessionJobs() : compute_(ComputeThread::of_process()) {}

SessionJobs::~SessionJobs() {
  if (current_) current_->end();
  if (beside_.joinable()) beside_.join();
}

void SessionJobs::cancel() {
  if (current_) current_->cancel = true;
}

Napi::Promise SessionJobs::start(Napi::Env env, Napi::Object owner, Napi::Function on_reports, Job job, JobPlace place) {
  if (busy()) throw AddonError("ENGINE_BUSY", "another job of this session is still running");
  const auto running = std::make_shared<RunningJob>(env, this, std::move(job));
  if (on_reports.IsEmpty()) on_reports = Napi::Function::New(env, [](const Napi::CallbackInfo&) {});
  running->on_loop = Napi::ThreadSafeFunction::New(env, on_reports, "espalier job", 0, 1);
  // This hook is registered after the thread-safe function's own hook, so that it runs before that one.
  napi_add_env_cleanup_hook(env, &RunningJob::wait_for_end, running.get());
  running->owner = Napi::Persistent(owner);
  {
    const std::lock_guard lock(unsettled_mutex);
    unsettled.push_back(running);
  }
  current_ = running;
  computes_ = computes_ || place == JobPlace::kCompute;
  if (computes_) {
    compute_->queue(running);
  } else {
    if (beside_.joinable()) beside_.join();  // its job has ended
    beside_ = std::thread([running] { running->run(); });
  }
  return running->deferred.Promise();
}

void end_jobs(Napi::Env env) {
  std::vector<std::shared_ptr<RunningJob>> own;
  {
    const std::lock_guard lock(unsettled_mutex);
    for (const std::weak_ptr<RunningJob>& one : unsettled)
      if (const auto job = one.lock(); job && static_cast<napi_env>(job->env) == static_cast<napi_env>(env)) own.push_back(job);
  }
  for (const auto& job : own) job->cancel = true;
  for (const auto& job : own) job->end();
}

}  // namespace espalier::addon
