// A backend that passes each op on to the real one and calls a watcher before and after it.
#pragma once
#include <map>
#include <memory>
#include <utility>

#include "device/backend.h"

namespace espalier {

// A watcher has `before_op(Backend&)` and `after_op(const char* name, const Op&, Backend&)`; both get the real backend.
template <class Watcher>
class WatchedBackend final : public Backend {
 public:
  WatchedBackend(std::unique_ptr<Backend> worker, Watcher& watcher) : worker_(std::move(worker)), watcher_(watcher) {}
  void attach_thread() override { worker_->attach_thread(); }
  DeviceBuffer share(const void* host, uint64_t bytes) override { return worker_->share(host, bytes); }
  void upload(DevicePtr<std::byte> to, const void* from, uint64_t bytes) override { worker_->upload(to, from, bytes); }
  void download(void* to, DevicePtr<const std::byte> from, uint64_t bytes) override { worker_->download(to, from, bytes); }
  void download_all(std::span<const Download> blocks) override { worker_->download_all(blocks); }
  void synchronize() override { worker_->synchronize(); }
  void fetch(DevicePtr<std::byte> to, const Backend& other, DevicePtr<const std::byte> from, uint64_t bytes) override {
    const auto* const watched = dynamic_cast<const WatchedBackend*>(&other);
    worker_->fetch(to, watched ? *watched->worker_ : other, from, bytes);
  }
  std::unique_ptr<Moment> moment() override { return worker_->moment(); }
  void copy_ahead(DevicePtr<std::byte> to, const HostBuffer& from) override { worker_->copy_ahead(to, from); }
  void ops_wait_for_copies() override { worker_->ops_wait_for_copies(); }
  void copies_wait_for_ops() override { worker_->copies_wait_for_ops(); }

 protected:
  DevicePtr<std::byte> take(uint64_t bytes) override {
    DeviceBuffer buffer = worker_->allocate(bytes);
    const DevicePtr<std::byte> data = buffer.data();
    taken_[data.address()] = std::move(buffer);
    return data;
  }
  void give_back(DevicePtr<std::byte> data, uint64_t) override { taken_.erase(data.address()); }
  std::byte* take_host(uint64_t bytes) override {
    HostBuffer buffer = worker_->allocate_host(bytes);
    std::byte* const data = buffer.data();
    taken_host_[data] = std::move(buffer);
    return data;
  }
  void give_back_host(std::byte* data) override { taken_host_.erase(data); }

#define ESPALIER_WATCHED(Op)              \
  void launch(const Op& op) override {    \
    watcher_.before_op(*worker_);         \
    worker_->run(op);                     \
    watcher_.after_op(#Op, op, *worker_); \
  }
  ESPALIER_OPS(ESPALIER_WATCHED)
#undef ESPALIER_WATCHED

 private:
  std::unique_ptr<Backend> worker_;
  Watcher& watcher_;
  std::map<uint64_t, DeviceBuffer> taken_;
  std::map<std::byte*, HostBuffer> taken_host_;
};

}  // namespace espalier
