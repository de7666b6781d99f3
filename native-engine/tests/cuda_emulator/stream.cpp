// The emulator's half of runtime.h: streams do their work as early or as late as real streams may.
#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <functional>
#include <memory>
#include <utility>

#include "counters.h"
#include "device_memory.h"
#include "emulator.h"
#include "espalier/base/error.h"
#include "launch_log.h"
#include "runtime.h"

namespace espalier::cuda::ESPALIER_TARGET {

namespace {
using namespace emulator;

struct NewStreams {
  Behaviour first, others;
  bool any = false;
};
thread_local NewStreams new_streams;

[[noreturn]] void refuse(const std::string& what) { throw Error(ErrorCode::kInternal, "emulator", what); }

thread_local int current_card = 0;  // the card of this thread, as CUDA has a current device for each thread

// After a kernel has failed for good, its card can do nothing more. Other cards go on.
std::array<std::atomic<bool>, kMostCards> lost_cards{};
std::atomic<bool>& is_lost(int card) { return lost_cards.at(static_cast<size_t>(card)); }
void must_not_be_lost(int card) {
  if (is_lost(card)) throw_device_lost("the emulated card is lost");
}

// A test may make a run lose a card. Where ESPALIER_EMULATED_FAULTS names a folder that has a file with a kernel's name, as in "adamw", the
// next launch of this kernel removes the file and fails. "1.adamw" is meant for card 1 alone.
bool is_to_fail(const std::string& kernel, int card) {
  const char* const folder = std::getenv("ESPALIER_EMULATED_FAULTS");
  if (!folder) return false;
  const auto met = [&](const std::string& name) { return std::remove((std::string(folder) + "/" + name).c_str()) == 0; };
  return met(kernel) || met(std::to_string(card) + "." + kernel);
}

std::atomic<uint64_t> waits = 0;
std::array<std::array<std::atomic<uint64_t>, kMostCards>, kMostCards> sent{};

struct EventState {
  uint64_t recorded = 0, done = 0;
  struct StreamOf* by = nullptr;  // the stream that recorded the event last
};

}  // namespace

struct EventOf {
  std::shared_ptr<EventState> state = std::make_shared<EventState>();
};

struct StreamOf {
  Behaviour behaviour;
  struct Work {
    std::function<void()> run;
    // The event that this work waits for, by the number of its record. nullptr where it waits only for earlier work of this stream.
    std::shared_ptr<EventState> after;
    uint64_t record = 0;
  };
  std::deque<Work> queue;
  int card = current_card;

  void add(Work work) {
    must_not_be_lost(card);
    queue.push_back(std::move(work));
    if (!behaviour.late) drain();
  }
  // Runs the queued work, and the work of other streams that must come before it.
  void drain() {
    while (!queue.empty()) step();
  }
  void drain_until(const EventState& event, uint64_t record) {
    while (event.done < record) {
      if (queue.empty()) refuse("a stream waits for an event that no stream records");
      step();
    }
  }

 private:
  void step() {
    const Work work = std::move(queue.front());
    queue.pop_front();
    if (work.after && work.after->done < work.record) work.after->by->drain_until(*work.after, work.record);
    if (!work.run) return;
    try {
      work.run();
    } catch (...) {
      queue.clear();  // like on a card, where nothing runs after an error
      throw;
    }
  }
};

namespace {
Cards& shown_cards() {
  // Cards of 8.6 and 8.9 have the least shared memory.
  static Cards cards{{{"emulated by the host", 4, 8, 6, uint64_t{16} << 30, uint64_t{16} << 30}}, "13.0", ""};
  return cards;
}
}  // namespace

Cards list_cards() { return shown_cards(); }
std::vector<std::string> product_libraries() { return {}; }  // the libraries of real cards can't be used here
Cards show_cards(Cards cards) { return std::exchange(shown_cards(), std::move(cards)); }
void use_card(int card) { current_card = card; }
uint64_t shared_most() {
  const Card& card = shown_cards().cards.at(0);
  if (card.major == 9 || card.major == 10) return 227 << 10;
  return card.major == 8 && (card.minor == 0 || card.minor == 7) ? 163 << 10 : kSharedEverywhere;
}
SentBytes take_sent_bytes() {
  SentBytes taken{};
  for (size_t from = 0; from < kMostCards; from++)
    for (size_t to = 0; to < kMostCards; to++) taken[from][to] = sent[from][to].exchange(0);
  return taken;
}

uint64_t take_waits() { return waits.exchange(0); }

uint64_t take_device_memory(uint64_t bytes) {
  must_not_be_lost(current_card);
  return take_memory(bytes);
}
void give_back_device_memory(uint64_t address, uint64_t) { give_back_memory(address); }
std::byte* take_pinned_memory(uint64_t bytes) { return static_cast<std::byte*>(std::aligned_alloc(4096, (bytes + 4095) / 4096 * 4096)); }
void give_back_pinned_memory(std::byte* data) { std::free(data); }
std::byte* kernel_address(uint64_t address, uint64_t bytes) { return real_memory(address, bytes); }

Event::Event() : handle_(new EventOf) {}
Event::~Event() { delete handle_; }
void Event::synchronize() {
  const auto state = handle_->state;
  if (state->by) state->by->drain_until(*state, state->recorded);
}

// The time on the host's clock at which the stream reaches it.
struct TimeOf {
  std::chrono::steady_clock::time_point reached;
  Stream* stream;
};
static std::shared_ptr<TimeOf>& time_of(EventHandle handle) { return *reinterpret_cast<std::shared_ptr<TimeOf>*>(handle); }

TimedEvent::TimedEvent(Stream& stream) : handle_(reinterpret_cast<EventHandle>(new std::shared_ptr<TimeOf>(new TimeOf{{}, &stream}))) {
  stream.handle()->add({[time = time_of(handle_)] { time->reached = std::chrono::steady_clock::now(); }, nullptr, 0});
}
TimedEvent::~TimedEvent() { delete &time_of(handle_); }
double TimedEvent::seconds_since(const TimedEvent& earlier) const {
  time_of(handle_)->stream->synchronize();
  return std::chrono::duration<double>(time_of(handle_)->reached - time_of(earlier.handle_)->reached).count();
}

Stream::Stream() : handle_(new StreamOf{std::exchange(new_streams.any, true) ? new_streams.others : new_streams.first, {}, current_card}) {}
Stream::~Stream() { delete handle_; }

// The source must stay unchanged until the copy is done, however late that is.
void Stream::upload(uint64_t to, const std::byte* pinned, uint64_t bytes) {
  std::byte* real = real_memory(to, bytes);
  handle_->add({[=, kept = std::vector<std::byte>(pinned, pinned + bytes)] {
                  if (std::memcmp(pinned, kept.data(), bytes) != 0) refuse("the host memory of an upload changed while it was under way");
                  std::memcpy(real, pinned, bytes);
                },
                nullptr, 0});
}

void Stream::download(std::byte* pinned, uint64_t from, uint64_t bytes) {
  const std::byte* real = real_memory(from, bytes);
  std::memset(pinned, 0xff, bytes);
  handle_->add({[=] { std::memcpy(pinned, real, bytes); }, nullptr, 0});
}

void Stream::copy_rows(Rows to, Rows from, uint64_t row_bytes, uint64_t rows) {
  if (rows == 0 || row_bytes == 0) return;
  std::byte* real_to = real_memory(to.address, (rows - 1) * to.pitch + row_bytes);
  const std::byte* real_from = real_memory(from.address, (rows - 1) * from.pitch + row_bytes);
  handle_->add({[=] {
                  emulator::note_copy(rows * row_bytes);
                  for (uint64_t i = 0; i < rows; i++) std::memcpy(real_to + i * to.pitch, real_from + i * from.pitch, row_bytes);
                },
                nullptr, 0});
}

void Stream::copy_between_cards(OnCard to, OnCard from, uint64_t bytes) {
  if (to.card == from.card) refuse("a copy between cards has one card at both ends");
  std::byte* real_to = real_memory(to.address, bytes);
  const std::byte* real_from = real_memory(from.address, bytes);
  sent.at(static_cast<size_t>(from.card)).at(static_cast<size_t>(to.card)) += bytes;
  handle_->add({[=] { std::memcpy(real_to, real_from, bytes); }, nullptr, 0});
}

void Stream::clear(uint64_t address, uint64_t bytes) {
  std::byte* real = real_memory(address, bytes);
  handle_->add({[=] { std::memset(real, 0, bytes); }, nullptr, 0});
}

void Stream::record(Event& event) {
  const auto state = event.handle()->state;
  state->by = handle_;
  const uint64_t record = ++state->recorded;
  handle_->add({[=] { state->done = std::max(state->done, record); }, nullptr, 0});
}

void Stream::wait_for(const Event& event) {
  const auto state = event.handle()->state;
  if (state->recorded > 0) handle_->add({nullptr, state, state->recorded});
}

void Stream::synchronize() {
  must_not_be_lost(handle_->card);
  waits++;
  handle_->drain();
  check_margins();
  note_wait();
}

void add_launch(StreamHandle stream, const Shape& shape, std::function<void()> kernel) {
  note_launch(shape.name);
  stream->add({[=, behaviour = stream->behaviour, card = stream->card, kernel = std::move(kernel)] {
                 if (is_to_fail(shape.name, card)) is_lost(card) = true;
                 if (is_lost(card)) throw_device_lost(std::string("kernel ") + shape.name + " was made to fail");
                 run_grid(shape, behaviour, kernel);
               },
               nullptr, 0});
}

void behave(const Behaviour& first, const Behaviour& others) { new_streams = {first, others}; }

}  // namespace espalier::cuda::ESPALIER_TARGET
