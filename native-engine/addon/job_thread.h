// One thread of our own for heavy work, which runs one job at a time. Libuv's pool does not fit: OpenMP keeps a team of threads for each
// calling thread, so all jobs must be called from the same thread, and a long job would starve the pool.
#pragma once
#include <napi.h>

#include <atomic>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>

namespace espalier::addon {

// Makes the JavaScript result of a job. It is called on the event loop.
using MakeValue = std::function<Napi::Value(Napi::Env)>;

// The side of the caller that a job sees: whether the job is cancelled, and where it reports.
class JobContext {
 public:
  virtual ~JobContext() = default;
  virtual const std::atomic<bool>& cancelled() const = 0;
  // Queues one report. The caller's function gets all reports, in order and in batches, before the job's promise settles.
  // at_once: the event loop calls the caller's function as soon as it can. This is for reports that can't wait for a whole batch.
  virtual void report(MakeValue value, bool at_once = false) = 0;
};

using Job = std::function<MakeValue(JobContext&)>;

class JobThread {
 public:
  JobThread();
  ~JobThread();  // cancels a running job and waits until it has ended
  JobThread(const JobThread&) = delete;
  JobThread& operator=(const JobThread&) = delete;

  // Starts a job; called only on the event loop. `on_reports` may be empty; it is called with an array of reports. `owner` stays alive
  // until the promise settles. Throws AddonError("ENGINE_BUSY") while another job runs.
  Napi::Promise start(Napi::Env env, Napi::Object owner, Napi::Function on_reports, Job job);
  void cancel();  // called only on the event loop; does nothing when no job runs
  bool busy() const { return current_ != nullptr; }

  struct Running;  // one job that runs; public for the callbacks in job_thread.cpp

 private:
  friend struct Running;
  void loop();

  std::shared_ptr<Running> current_;  // used only on the event loop
  std::shared_ptr<Running> queued_;   // guarded by mutex_
  std::mutex mutex_;
  std::condition_variable wake_;
  bool stopping_ = false;
  std::thread thread_;
};

}  // namespace espalier::addon
