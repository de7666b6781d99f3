// One thread of our own for heavy work, one job at a time. (Not libuv's pool: OpenMP keeps a team of threads per caller,
// so the caller must stay the same one; and a long job would starve the pool.)
#pragma once
#include <napi.h>

#include <atomic>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>

namespace espalier::addon {

// Makes the JavaScript result of a job, on the event loop.
using MakeValue = std::function<Napi::Value(Napi::Env)>;

// A job's view of the outside.
class JobContext {
 public:
  virtual ~JobContext() = default;
  virtual const std::atomic<bool>& cancelled() const = 0;
  // Queues one report; the caller's function gets them all, in order and in batches, before the job's promise settles.
  // at_once: the caller's function is called as soon as the event loop comes to it, for reports that can't wait for a whole batch.
  virtual void report(MakeValue value, bool at_once = false) = 0;
};

using Job = std::function<MakeValue(JobContext&)>;

class JobThread {
 public:
  JobThread();
  ~JobThread();  // cancels a running job and waits for its end
  JobThread(const JobThread&) = delete;
  JobThread& operator=(const JobThread&) = delete;

  // Event loop only. `on_reports` (may be empty) is called with an array. `owner` stays alive until the promise settles.
  // Throws AddonError("ENGINE_BUSY") while another job runs.
  Napi::Promise start(Napi::Env env, Napi::Object owner, Napi::Function on_reports, Job job);
  void cancel();  // event loop only; nothing happens when no job runs
  bool busy() const { return current_ != nullptr; }

  struct Running;  // one job under way; public for the callbacks in job_thread.cpp

 private:
  friend struct Running;
  void loop();

  std::shared_ptr<Running> current_;  // event loop only
  std::shared_ptr<Running> queued_;   // guarded
  std::mutex mutex_;
  std::condition_variable wake_;
  bool stopping_ = false;
  std::thread thread_;
};

}  // namespace espalier::addon
