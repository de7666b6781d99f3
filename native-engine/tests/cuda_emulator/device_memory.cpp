#include "device_memory.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>
#include <utility>

#include "espalier/base/error.h"

namespace espalier::cuda::emulator {

namespace {

constexpr uint64_t kRange = uint64_t{64} << 30, kPage = 4096, kAlignment = 256;
constexpr std::byte kMargin{0xa5};

uint64_t whole(uint64_t bytes, uint64_t unit) { return (bytes + unit - 1) / unit * unit; }

[[noreturn]] void refuse(const char* what) { throw Error(ErrorCode::kInternal, "emulator", what); }

class DeviceMemory {
 public:
  DeviceMemory() : shown_(reserve()), real_(reserve()) {}

  uint64_t take(uint64_t bytes) {
    const std::lock_guard lock(mutex_);
    const uint64_t room = whole(bytes, kAlignment), pages = whole(room, kPage);
    if (next_ + pages + kPage > kRange) throw Error(ErrorCode::kOutOfMemory, "memory", "the emulated memory is used up");
    const uint64_t begin = next_, at = begin + pages - room;
    if (pages > 0 && mprotect(real_ + begin, pages, PROT_READ | PROT_WRITE) != 0) refuse("cannot open memory");
    std::memset(real_ + begin, static_cast<int>(kMargin), at - begin);
    std::memset(real_ + at, 0xff, room);
    next_ += pages + kPage;
    const auto address = reinterpret_cast<uint64_t>(shown_) + at;
    live_[address] = {begin, at, bytes};
    live_bytes_ += bytes;
    peak_bytes_ = std::max(peak_bytes_, live_bytes_);
    return address;
  }

  // Frees a buffer. Its addresses are never handed out again, so that an access to an old address finds no memory.
  void give_back(uint64_t address) {
    const std::lock_guard lock(mutex_);
    const auto buffer = live_.find(address);
    if (buffer == live_.end()) die("a buffer was given back that is not there");
    const Buffer b = buffer->second;
    if (!margin_is_whole(b)) die("something was written before a buffer");
    live_.erase(buffer);
    live_bytes_ -= b.bytes;
    const uint64_t pages = whole(b.at + b.bytes - b.begin, kPage);
    if (pages > 0) mmap(real_ + b.begin, pages, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);
  }

  uint64_t take_peak() {
    const std::lock_guard lock(mutex_);
    return std::exchange(peak_bytes_, live_bytes_);
  }

  std::byte* real(uint64_t address, uint64_t bytes) {
    const std::lock_guard lock(mutex_);
    auto buffer = live_.upper_bound(address);
    if (buffer == live_.begin()) refuse("an address outside of the device's memory");
    --buffer;
    if (address - buffer->first + bytes > buffer->second.bytes) refuse("memory that is no part of one live buffer");
    return real_ + (address - reinterpret_cast<uint64_t>(shown_));
  }

  void check() {
    const std::lock_guard lock(mutex_);
    for (const auto& [address, buffer] : live_)
      if (!margin_is_whole(buffer)) refuse("something was written before a buffer");
  }

 private:
  struct Buffer {
    uint64_t begin, at, bytes;  // the first address of its pages, its own address, and its own size
  };

  [[noreturn]] static void die(const char* what) {
    std::fprintf(stderr, "emulator: %s\n", what);
    std::abort();
  }
  static std::byte* reserve() {
    void* p = mmap(nullptr, kRange, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p == MAP_FAILED) die("cannot reserve its range");
    return static_cast<std::byte*>(p);
  }
  bool margin_is_whole(const Buffer& b) const {
    for (uint64_t i = b.begin; i < b.at; i++)
      if (real_[i] != kMargin) return false;
    return true;
  }

  std::byte *shown_, *real_;
  uint64_t next_ = kPage;
  std::map<uint64_t, Buffer> live_;
  uint64_t live_bytes_ = 0, peak_bytes_ = 0;
  std::mutex mutex_;
};

DeviceMemory& memory() {
  static DeviceMemory all;
  return all;
}

}  // namespace

uint64_t take_memory(uint64_t bytes) { return memory().take(bytes); }
uint64_t take_peak_bytes() { return memory().take_peak(); }
void give_back_memory(uint64_t address) { memory().give_back(address); }
std::byte* real_memory(uint64_t address, uint64_t bytes) { return memory().real(address, bytes); }
void check_margins() { memory().check(); }

}  // namespace espalier::cuda::emulator
