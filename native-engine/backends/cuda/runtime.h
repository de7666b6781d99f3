// The small part of the CUDA runtime that the backend needs. It has two implementations: gpu/runtime.cpp over cudart, and that of the
// tests' emulator. Everything in this backend is compiled for one of the two, in a namespace of its own, so both fit into one program.
//
// Every function throws Error(kOutOfMemory, "memory"), Error(kInternal, "device") or, after a kernel has failed, Error(kDeviceLost,
// "device").
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
  int major = 0, minor = 0;  // the compute capability
  uint64_t memory_bytes = 0;
  uint64_t free_bytes = 0;  // equals memory_bytes where the driver can't tell
};

struct Cards {
  std::vector<Card> cards;
  std::string driver;   // the version of CUDA that the driver is for
  std::string problem;  // why the list is empty, as a sentence
};

// Lists the cards. Makes no context on any card and never throws.
Cards list_cards();

// Returns where cuBLASLt may be, in the form that dlopen takes, the best place first. ESPALIER_CUBLASLT names the only place ("off": none);
// without it the loader searches.
std::vector<std::string> product_libraries();

void use_card(int card);  // chooses the card of the calling thread's next calls

// Returns memory that is 256-byte aligned and whose contents are undefined.
uint64_t take_device_memory(uint64_t bytes);
void give_back_device_memory(uint64_t address, uint64_t bytes);
std::byte* take_pinned_memory(uint64_t bytes);
void give_back_pinned_memory(std::byte* data);

// Returns where kernels find `bytes` bytes at an address that the host holds.
std::byte* kernel_address(uint64_t address, uint64_t bytes);

// A launch must ask beforehand for more than 48 KiB of shared memory. The most depends on the card: 99 KiB for compute capability 8.6, 8.9
// and 12, 163 KiB for 8.0 and 8.7, 227 KiB for 9.0 and 10. So a kernel for all cards takes 99 KiB at most. The limits are for static and
// dynamic memory together, and a launch knows only its dynamic memory. So every launch with dynamic memory asks.
inline constexpr uint64_t kSharedUnasked = 48 << 10, kSharedEverywhere = 99 << 10;
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
  void synchronize();  // returns when the last recorded work is done, at once where nothing was recorded
  EventHandle handle() const { return handle_; }

 private:
  EventHandle handle_;
};

// An event that also tells when it was reached.
class TimedEvent {
 public:
  explicit TimedEvent(Stream& stream);  // is recorded after all work that the stream has
  ~TimedEvent();
  TimedEvent(const TimedEvent&) = delete;
  TimedEvent& operator=(const TimedEvent&) = delete;
  double seconds_since(const TimedEvent& earlier) const;  // waits for both events

 private:
  EventHandle handle_;
};

// A queue of work. The work of one stream runs in order; between streams only events set an order.
class Stream {
 public:
  Stream();
  ~Stream();
  Stream(Stream&& other) noexcept : handle_(std::exchange(other.handle_, nullptr)) {}
  Stream& operator=(Stream&& other) = delete;

  void upload(uint64_t to, const std::byte* pinned, uint64_t bytes);
  void download(std::byte* pinned, uint64_t from, uint64_t bytes);
  struct Rows {
    uint64_t address, pitch;  // pitch: the bytes from one row to the next
  };
  void copy_rows(Rows to, Rows from, uint64_t row_bytes, uint64_t rows);  // copies on the device
  struct OnCard {
    uint64_t address;
    int card;
  };
  // Copies directly where the cards can, and otherwise through pinned memory of the host. The stream must be one of the target's card.
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
