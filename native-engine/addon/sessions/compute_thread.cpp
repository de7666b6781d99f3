#include "sessions/compute_thread.h"

#include <pthread.h>

#include <algorithm>

namespace espalier::addon {

std::shared_ptr<ComputeThread> ComputeThread::of_process() {
  static std::mutex mutex;
  static std::weak_ptr<ComputeThread> known;
  const std::lock_guard lock(mutex);
  std::shared_ptr<ComputeThread> thread = known.lock();
  if (!thread) known = thread = std::make_shared<ComputeThread>();
  return thread;
}

ComputeThread::ComputeThread() : thread_([this] { loop(); }) {}

ComputeThread::~ComputeThread() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_all();
  thread_.join();
}

void ComputeThread::queue(std::shared_ptr<ComputeWork> work) {
  {
    const std::lock_guard lock(mutex_);
    waiting_.push_back(std::move(work));
  }
  wake_.notify_all();
}

bool ComputeThread::take_back(const ComputeWork* work) {
  const std::lock_guard lock(mutex_);
  return std::erase_if(waiting_, [&](const auto& one) { return one.get() == work; }) > 0;
}

void ComputeThread::loop() {
  pthread_setname_np(pthread_self(), "compute");  // the threads of its team inherit the name
  for (;;) {
    std::shared_ptr<ComputeWork> work;
    {
      std::unique_lock lock(mutex_);
      wake_.wait(lock, [&] { return stopping_ || !waiting_.empty(); });
      if (waiting_.empty()) return;
      work = std::move(waiting_.front());
      waiting_.pop_front();
    }
    work->run();
  }
}

}  // namespace espalier::addon
