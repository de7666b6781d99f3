// The jobs of a session, one at a time. Libuv's pool does not fit: a long job would starve it.
#pragma once
#include <napi.h>

#include <atomic>
#include <functional>
#include <memory>
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

class ComputeThread;
struct RunningJob;

// The thread that runs a job.
enum class JobPlace {
  kCompute,  // the one thread of the process that computes; jobs of all sessions wait there for their turns
  // A thread of its own, for a job that uses no OpenMP and must not wait while another session trains. In a session that has computed, such
  // a job runs where the others ran, since the device belongs to that thread.
  kBeside,
};

class SessionJobs {
 public:
  SessionJobs();
  ~SessionJobs();  // cancels a running job and waits until it has ended
  SessionJobs(const SessionJobs&) = delete;
  SessionJobs& operator=(const SessionJobs&) = delete;

  // Starts a job; called only on the event loop. `on_reports` may be empty; it is called with an array of reports. `owner` stays alive
  // until the promise settles. Throws AddonError("ENGINE_BUSY") while another job of this session runs.
  Napi::Promise start(Napi::Env env, Napi::Object owner, Napi::Function on_reports, Job job, JobPlace place);
  void cancel();  // called only on the event loop; does nothing when no job runs
  bool busy() const { return current_ != nullptr; }

 private:
  friend struct RunningJob;

  std::shared_ptr<RunningJob> current_;  // used only on the event loop
  std::shared_ptr<ComputeThread> compute_;
  bool computes_ = false;  // whether any job was one for the compute thread
  std::thread beside_;
};

// Cancels all jobs of an environment and waits until no thread runs them. The process is to call it before it exits: Node then runs no
// cleanup hooks, and the C library would destroy what the jobs use while they use it.
void end_jobs(Napi::Env env);

}  // namespace espalier::addon
