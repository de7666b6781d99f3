#include "device/backend.h"

#include <chrono>
#include <cstring>

#include "espalier/base/error.h"

namespace espalier {

DeviceBuffer Backend::share(const void* host, uint64_t bytes) {
  DeviceBuffer copy = allocate(bytes);
  upload(copy.data(), host, bytes);
  return copy;
}

void Backend::fetch(DevicePtr<std::byte>, const Backend&, DevicePtr<const std::byte>, uint64_t) {
  throw Error(ErrorCode::kNotSupported, "device", "this device can't read the memory of another one");
}

namespace {

class ClockMoment final : public Moment {
 public:
  double seconds_since(const Moment& earlier) const override {
    return std::chrono::duration<double>(at_ - dynamic_cast<const ClockMoment&>(earlier).at_).count();
  }

 private:
  std::chrono::steady_clock::time_point at_ = std::chrono::steady_clock::now();
};

}  // namespace

std::unique_ptr<Moment> Backend::moment() { return std::make_unique<ClockMoment>(); }

void UploadBlock::begin(uint64_t bytes) {
  if (in_use_) backend_->synchronize();
  in_use_ = true;
  used_ = 0;
  if (host_.size() < bytes) {
    host_.resize(bytes);
    device_ = backend_->allocate(bytes);
  }
}

DevicePtr<std::byte> UploadBlock::place(const void* list, uint64_t bytes, uint64_t room) {
  if (bytes == 0) return nullptr;
  if (used_ + room > host_.size()) throw Error(ErrorCode::kInternal, "backend", "a list has no room in its block");
  std::memcpy(host_.data() + used_, list, bytes);
  const DevicePtr<std::byte> at = device_.data() + static_cast<int64_t>(used_);
  used_ += room;
  return at;
}

void UploadBlock::send() {
  if (used_ > 0) backend_->upload(device_.data(), host_.data(), used_);
}

}  // namespace espalier
