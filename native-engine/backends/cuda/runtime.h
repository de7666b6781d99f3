// The little of the CUDA runtime that the backend needs. Two implementations: gpu/runtime.cpp over cudart, and that of the tests'
// emulator. Everything of this backend is compiled for one of the two, in a namespace of its own, so both fit into one program.
//
// Every function throws Error(kOutOfMemory, "memory"), Error(kInternal, "device") or, after a kernel failed, Error(kDeviceLost, "device").
#pragma once
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "device/memory.h"

namespace espalier::cuda::ESPALIER_TARGET {

struct Card {
  std::string model;
  int multiprocessors = 0;
  int major = 0, minor = 0;  // compute capability
  uint64_t memory_bytes = 0;
  uint64_t free_bytes = 0;  // memory_bytes where the driver can't say
};

struct Cards {
  std::vector<Card> cards;
  std::string driver;   // the version of CUDA that it is for
  std::string problem;  // why the list is empty, in words
};

// Makes no context on any card. Never throws.
Cards list_cards();

// Where cuBLASLt may be, as dlopen takes it, the best first: what ESPALIER_CUBLASLT names ("off": nowhere), else where the loader looks.
std::vector<std::string> product_libraries();

void use_card(int card);  // by the calling thread, from here on

// 256-byte aligned. What lies there is not defined.
uint64_t take_device_memory(uint64_t bytes);
void give_back_device_memory(uint64_t address, uint64_t bytes);
std::byte* take_pinned_memory(uint64_t bytes);
void give_back_pinned_memory(std::byte* data);

// Where kernels find `bytes` bytes at an address that the host holds.
std::byte* kernel_address(uint64_t address, uint64_t bytes);

// More than 48 KiB of shared memory must be asked for before the launch, at most 227 KiB. Both limits are those of static and dynamic
// memory together, and a launch knows only the dynamic one: so whatever is dynamic is asked for.
inline constexpr uint64_t kSharedUnasked = 48 << 10, kSharedMost = 227 << 10;
inline constexpr bool must_ask_for_shared(uint32_t dynamic_bytes) { return dynamic_bytes > 0; }

using StreamHandle = struct StreamOf*;
using EventHandle = struct EventOf*;

class Stream;

class Event {
 public:
  Event();
  ~Event();
  Event(Event&& other) noexcept : handle_(std::exchange(other.handle_, nullptr)) {}
  Event& operator=(Event&& other) = delete;
  void synchronize();  // returns when what was recorded last is done, at once where nothing was
  EventHandle handle() const { return handle_; }

 private:
  EventHandle handle_;
};

// An event that also says when it was reached.
class TimedEvent {
 public:
  explicit TimedEvent(Stream& stream);  // recorded behind what the stream was given
  ~TimedEvent();
  TimedEvent(const TimedEvent&) = delete;
  TimedEvent& operator=(const TimedEvent&) = delete;
  double seconds_since(const TimedEvent& earlier) const;  // waits for both

 private:
  EventHandle handle_;
};

// Work that is given to one stream runs in order; between streams only events give an order.
class Stream {
 public:
  Stream();
  ~Stream();
  Stream(Stream&& other) noexcept : handle_(std::exchange(other.handle_, nullptr)) {}
  Stream& operator=(Stream&& other) = delete;

  void upload(uint64_t to, const std::byte* pinned, uint64_t bytes);
  void download(std::byte* pinned, uint64_t from, uint64_t bytes);
  struct Rows {
    uint64_t address, pitch;  // bytes from one row to the next
  };
  void copy_rows(Rows to, Rows from, uint64_t row_bytes, uint64_t rows);  // on the device
  struct OnCard {
    uint64_t address;
    int card;
  };
  // Directly where the cards can, else through pinned memory of the host. The stream is of the card that is copied to.
  void copy_between_cards(OnCard to, OnCard from, uint64_t bytes);
  void clear(uint64_t address, uint64_t bytes);
  void record(Event& event);
  void wait_for(const Event& event);
  void synchronize();
  StreamHandle handle() const { return handle_; }

 private:
  StreamHandle handle_;
};

}  // namespace espalier::cuda::ESPALIER_TARGET
