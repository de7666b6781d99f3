// The thread on which all sessions of the process compute. OpenMP makes a team of threads for each thread that enters a parallel region,
// and keeps it as long as that thread lives. Where the teams have together more threads than the machine has processors, libgomp's threads
// no longer spin for a while before they sleep, and each op takes tens of microseconds more. So there is one team.
#pragma once
#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <thread>

namespace espalier::addon {

class ComputeWork {
 public:
  virtual ~ComputeWork() = default;
  virtual void run() = 0;  // must not throw
};

class ComputeThread {
 public:
  // Returns the thread of this process. It lives as long as any session holds it.
  static std::shared_ptr<ComputeThread> of_process();
  ComputeThread();
  ~ComputeThread();
  ComputeThread(const ComputeThread&) = delete;
  ComputeThread& operator=(const ComputeThread&) = delete;

  void queue(std::shared_ptr<ComputeWork> work);
  // Removes work that waits for its turn. Returns whether it waited.
  bool take_back(const ComputeWork* work);

 private:
  void loop();

  std::deque<std::shared_ptr<ComputeWork>> waiting_;  // guarded by mutex_
  std::mutex mutex_;
  std::condition_variable wake_;
  bool stopping_ = false;
  std::thread thread_;
};

}  // namespace espalier::addon
