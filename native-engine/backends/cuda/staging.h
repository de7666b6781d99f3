// Pinned host memory that uploads and downloads pass through. Only with pinned memory can the device copy while the host goes on.
#pragma once
#include <array>

#include "runtime.h"

namespace espalier::cuda::ESPALIER_TARGET {

class Staging {
 public:
  Staging();
  ~Staging();
  Staging(const Staging&) = delete;
  Staging& operator=(const Staging&) = delete;

  // Copies the source before it returns. It waits only where all staging memory is still being uploaded.
  void upload(Stream& stream, uint64_t to, const std::byte* from, uint64_t bytes);
  void download(Stream& stream, std::byte* to, uint64_t from, uint64_t bytes);  // returns when the bytes have arrived

 private:
  static constexpr uint64_t kHalfBytes = 8 << 20;
  struct Half {
    std::byte* data;
    Event free;  // recorded after the last upload from this half
  };
  std::byte* room(uint64_t bytes);

  std::byte* memory_;
  std::array<Half, 2> halves_;
  int current_ = 0;
  uint64_t used_ = 0;  // the used bytes of the current half
};

}  // namespace espalier::cuda::ESPALIER_TARGET
