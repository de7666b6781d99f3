#include "staging.h"

#include <algorithm>
#include <cstring>

namespace espalier::cuda::ESPALIER_TARGET {

Staging::Staging() : memory_(take_pinned_memory(2 * kHalfBytes)), halves_{{{memory_, {}}, {memory_ + kHalfBytes, {}}}} {}
Staging::~Staging() { give_back_pinned_memory(memory_); }

std::byte* Staging::room(uint64_t bytes) {
  constexpr uint64_t kAlignment = 256;
  if (used_ + bytes > kHalfBytes) {
    current_ = 1 - current_;
    used_ = 0;
    halves_[current_].free.synchronize();
  }
  std::byte* at = halves_[current_].data + used_;
  used_ = std::min(kHalfBytes, (used_ + bytes + kAlignment - 1) / kAlignment * kAlignment);
  return at;
}

void Staging::upload(Stream& stream, uint64_t to, const std::byte* from, uint64_t bytes) {
  for (uint64_t done = 0; done < bytes;) {
    const uint64_t part = std::min(kHalfBytes, bytes - done);
    std::byte* pinned = room(part);
    std::memcpy(pinned, from + done, part);
    stream.upload(to + done, pinned, part);
    stream.record(halves_[current_].free);
    done += part;
  }
}

void Staging::download(Stream& stream, std::byte* to, uint64_t from, uint64_t bytes) {
  for (uint64_t done = 0; done < bytes;) {
    const uint64_t part = std::min(kHalfBytes, bytes - done);
    std::byte* pinned = room(part);
    stream.download(pinned, from + done, part);
    stream.synchronize();
    std::memcpy(to + done, pinned, part);
    done += part;
  }
}

}  // namespace espalier::cuda::ESPALIER_TARGET
