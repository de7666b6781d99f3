// A thread that does one piece of work after the other, for a caller that waits for each.
#pragma once
#include <condition_variable>
#include <exception>
#include <functional>
#include <mutex>
#include <thread>
#include <utility>

namespace espalier {

class WorkerThread {
 public:
  WorkerThread() : thread_([this] { serve(); }) {}
  ~WorkerThread() {
    {
      const std::lock_guard lock(mutex_);
      ending_ = true;
    }
    changed_.notify_all();
    thread_.join();
  }
  WorkerThread(const WorkerThread&) = delete;
  WorkerThread& operator=(const WorkerThread&) = delete;

  // The caller must have waited for the earlier work.
  void start(std::function<void()> work) {
    {
      const std::lock_guard lock(mutex_);
      work_ = std::move(work);
    }
    changed_.notify_all();
  }
  // Returns when the work is done, or at once if no work was given. Rethrows what the work threw.
  void wait() {
    settle();
    if (const std::exception_ptr problem = std::exchange(problem_, nullptr)) std::rethrow_exception(problem);
  }
  // Does the same without throwing.
  void settle() noexcept {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return !work_; });
  }
  void run(std::function<void()> work) {
    start(std::move(work));
    wait();
  }

 private:
  void serve() {
    std::unique_lock lock(mutex_);
    while (true) {
      changed_.wait(lock, [&] { return ending_ || work_; });
      if (!work_) return;
      lock.unlock();
      std::exception_ptr problem;
      try {
        work_();
      } catch (...) {
        problem = std::current_exception();
      }
      lock.lock();
      problem_ = problem;
      work_ = nullptr;
      changed_.notify_all();
    }
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  std::function<void()> work_;
  std::exception_ptr problem_;
  bool ending_ = false;
  std::thread thread_;
};

}  // namespace espalier
