#include "job_thread.h"

#include <chrono>
#include <utility>
#include <vector>

#include "js_error.h"

namespace espalier::addon {

namespace {
// The event loop is woken for reports at most this often. A user who watches sees no difference, and a step of a small model, which takes
// only a few milliseconds on all cores, is not disturbed by each of its reports.
constexpr auto kReportInterval = std::chrono::milliseconds(750);
}  // namespace

struct JobThread::Running final : JobContext, std::enable_shared_from_this<Running> {
  Running(Napi::Env e, JobThread* t, Job j) : env(e), thread(t), job(std::move(j)), deferred(Napi::Promise::Deferred::New(e)) {}

  const std::atomic<bool>& cancelled() const override { return cancel; }

  // Called by the worker thread.
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
    if (wake) call(&Running::deliver_reports);
  }

  void run() {
    try {
      result = job(*this);
    } catch (...) {
      error = std::current_exception();
    }
    job = nullptr;  // the objects that the job holds are destroyed on the thread that used them
    {
      const std::lock_guard lock(mutex);
      finished = true;
    }
    finished_signal.notify_all();
    call(&Running::settle);
  }

  // Queues a call of a member function on the event loop. Once the environment closes, the call is dropped, because no caller waits for the
  // job any more.
  void call(void (Running::*member)(Napi::Function)) {
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
    napi_remove_env_cleanup_hook(env, &Running::wait_for_end, this);
    const auto self = shared_from_this();
    thread->current_.reset();
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
    auto* self = static_cast<Running*>(data);
    self->cancel = true;
    std::unique_lock lock(self->mutex);
    self->finished_signal.wait(lock, [&] { return self->finished; });
    self->let_go();
  }

  Napi::Env env;
  JobThread* thread;
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

JobThread::JobThread() : thread_([this] { loop(); }) {}

JobThread::~JobThread() {
  cancel();
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_all();
  thread_.join();
}

void JobThread::cancel() {
  if (current_) current_->cancel = true;
}

Napi::Promise JobThread::start(Napi::Env env, Napi::Object owner, Napi::Function on_reports, Job job) {
  if (busy()) throw AddonError("ENGINE_BUSY", "another job of this session is still running");
  const auto running = std::make_shared<Running>(env, this, std::move(job));
  if (on_reports.IsEmpty()) on_reports = Napi::Function::New(env, [](const Napi::CallbackInfo&) {});
  running->on_loop = Napi::ThreadSafeFunction::New(env, on_reports, "espalier job", 0, 1);
  // This hook is registered after the thread-safe function's own hook, so that it runs before that one.
  napi_add_env_cleanup_hook(env, &Running::wait_for_end, running.get());
  running->owner = Napi::Persistent(owner);
  current_ = running;
  {
    const std::lock_guard lock(mutex_);
    queued_ = running;
  }
  wake_.notify_all();
  return running->deferred.Promise();
}

void JobThread::loop() {
  for (;;) {
    std::shared_ptr<Running> job;
    {
      std::unique_lock lock(mutex_);
      wake_.wait(lock, [&] { return stopping_ || queued_ != nullptr; });
      if (queued_ == nullptr) return;
      job.swap(queued_);
    }
    job->run();
  }
}

}  // namespace espalier::addon
