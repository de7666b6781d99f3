#include "blocks/block.h"

#include <sys/mman.h>

#include <bit>
#include <cstring>
#include <memory>
#include <numeric>
#include <utility>

#include "blocks/lane_copies.h"
#include "blocks/ready_threads.h"
#include "counters.h"
#include "espalier/base/error.h"

namespace espalier::cuda::emulator {

constinit thread_local Dim3 thread_index, block_index, block_size, grid_size;

namespace {

constexpr uint64_t kMostStatic = 48 << 10, kSharedBytes = 512 << 10;

std::string text_of(const Site& site) {
  const std::string file = site.file_name();
  return file.substr(file.rfind('/') + 1) + ":" + std::to_string(site.line());
}
bool same(const Site& a, const Site& b) { return a.line() == b.line() && a.column() == b.column(); }
std::string text_of(const Dim3& d) { return "(" + std::to_string(d.x) + "," + std::to_string(d.y) + "," + std::to_string(d.z) + ")"; }

struct Lane {
  Fiber fiber;
  Dim3 index;
  LaneCopies copies;
};

struct Meeting {
  uint32_t mask = 0, arrived = 0;
  Site site;
  std::array<void*, kWarp> given;
};

class Block {
 public:
  Block() : lanes_(kMostFibers), meetings_(kMostFibers / kWarp) {
    void* p = mmap(nullptr, kSharedBytes + 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED || mprotect(static_cast<std::byte*>(p) + kSharedBytes, 4096, PROT_NONE) != 0)
      throw Error(ErrorCode::kOutOfMemory, "memory", "no memory for shared memory");
    shared_ = static_cast<std::byte*>(p);
    std::memset(shared_, 0xff, kMostStatic);
  }

  void run(const Shape& shape, const Behaviour& behaviour, const std::function<void()>& kernel) {
    behaviour_ = behaviour;
    kernel_ = &kernel;
    threads_ = static_cast<int>(shape.block.count());
    ended_ = waiting_ = 0;
    error_.clear();
    // The dynamic shared memory ends at a page without access, so that an access beyond it fails.
    dynamic_bytes_ = (shape.shared_bytes + 15) / 16 * 16;
    shared_most_ = shape.shared_most;
    std::memset(dynamic(), 0xff, dynamic_bytes_);
    std::memset(shared_, 0xff, static_used_);
    statics_.clear();
    static_used_ = 0;
    ready_.begin(behaviour.seed);
    for (int i = 0; i < threads_; i++) {
      Lane& lane = lanes_[i];
      lane.fiber.prepare(fiber_stack(i), kStackBytes, &Block::lane_main);
      lane.index = Dim3(i % shape.block.x, i / shape.block.x % shape.block.y, i / (shape.block.x * shape.block.y));
      lane.copies.clear();
    }
    for (int w = 0; w * kWarp < threads_; w++) {
      meetings_[w].clear();
      ready_.add(w, lanes_in(w));
    }
    current_ = -1;
    go_on(host_);
    if (!error_.empty())
      throw Error(ErrorCode::kInternal, "emulator",
                  std::string("kernel ") + shape.name + ", block " + text_of(block_index) + ": " + error_);
  }

  int current() const { return current_; }
  uint64_t shared_bytes() const { return static_used_ + dynamic_bytes_; }
  std::byte* dynamic() { return shared_ + kSharedBytes - dynamic_bytes_; }
  const Behaviour& behaviour() const { return behaviour_; }
  Lane& lane() { return lanes_[current_]; }

  std::byte* static_memory(const void* key, uint64_t bytes) {
    for (const auto& [known, at] : statics_)
      if (known == key) return at;
    std::byte* at = shared_ + static_used_;
    static_used_ += (bytes + 15) / 16 * 16;
    if (static_used_ > kMostStatic) stop("more than 48 KiB of static shared memory");
    if (static_used_ + dynamic_bytes_ > shared_most_)
      stop("more shared memory, static and dynamic, than the " + std::to_string(shared_most_) + " bytes that the launch may take");
    statics_.emplace_back(key, at);
    return at;
  }

  void barrier(const Site& site) {
    if (waiting_ == 0)
      barrier_site_ = site;
    else if (!same(site, barrier_site_)) [[unlikely]]
      stop_at("threads wait at different barriers", barrier_site_, &site);
    if (++waiting_ < threads_) return wait();
    waiting_ = 0;
    for (int w = 0; w * kWarp < threads_; w++) ready_.add(w, lanes_in(w) & ~(w == own_warp() ? own_bit() : 0u));
  }

  void meet(uint32_t mask, void* mine, const Site& site, Act act) {
    const int w = own_warp();
    const uint32_t bit = own_bit();
    if (!(mask & bit)) [[unlikely]]
      stop_at("a lane is not in the mask of what it takes part in", site);
    Meeting& meeting = meeting_of(w, mask, site);
    if (meeting.arrived == 0)
      meeting.site = site;
    else if (!same(meeting.site, site)) [[unlikely]]
      stop_at("lanes of a warp meet at different places", meeting.site, &site);
    meeting.given[own_lane()] = mine;
    meeting.arrived |= bit;
    if (meeting.arrived != mask) return wait();
    act(meeting.given.data());
    meeting.arrived = 0;
    ready_.add(w, mask & ~bit);
  }

  // Failures are reported outside the functions that find them. Otherwise these functions would reserve room for the texts on the stack of
  // every lane.
  [[noreturn, gnu::cold, gnu::noinline]] void stop(const std::string& what) {
    error_ = what + ", by thread " + text_of(lanes_[current_].index);
    leave(host_);
  }
  [[noreturn, gnu::cold, gnu::noinline]] void stop_at(const char* what, const Site& site, const Site* other = nullptr) {
    stop(std::string(what) + ", " + text_of(site) + (other ? " and " + text_of(*other) : ""));
  }

 private:
  void wait() {
    const int self = current_;
    go_on(lanes_[self].fiber);
  }

  Meeting& meeting_of(int w, uint32_t mask, const Site& site) {
    for (Meeting& known : meetings_[w])
      if (known.mask == mask) return known;
    return add_meeting(w, mask, site);
  }
  [[gnu::noinline]] Meeting& add_meeting(int w, uint32_t mask, const Site& site) {
    if (mask & ~lanes_in(w)) stop_at("a mask names lanes that the block has not", site);
    return meetings_[w].emplace_back(Meeting{mask, 0, site, {}});
  }

  int own_warp() const { return static_cast<int>(static_cast<uint32_t>(current_) / kWarp); }
  int own_lane() const { return static_cast<int>(static_cast<uint32_t>(current_) % kWarp); }
  uint32_t own_bit() const { return 1u << own_lane(); }
  uint32_t lanes_in(int w) const { return threads_ - w * kWarp >= kWarp ? kAllLanes : (1u << (threads_ - w * kWarp)) - 1; }

  // Switches from `from` to the next fiber, or back to the host when all fibers have ended.
  void go_on(Fiber& from, bool last = false) {
    const int to = ready_.take(current_);
    if (to < 0) {
      if (ended_ < threads_) error_ = stuck();
      return leave_quietly(from, last);
    }
    current_ = to;
    thread_index = lanes_[to].index;
    from.switch_to(lanes_[to].fiber, last);
  }

  void leave_quietly(Fiber& from, bool last) {
    if (&from != &host_) from.switch_to(host_, last);
  }
  [[noreturn]] void leave(Fiber& to) {
    lanes_[current_].fiber.switch_to(to, true);
    __builtin_unreachable();
  }

  [[gnu::cold, gnu::noinline]] std::string stuck() const {
    std::string text;
    if (waiting_ > 0) text = std::to_string(waiting_) + " of " + std::to_string(threads_) + " threads wait at " + text_of(barrier_site_);
    for (int w = 0; w * kWarp < threads_; w++)
      for (const Meeting& m : meetings_[w])
        if (m.arrived)
          text += (text.empty() ? "" : "; ") + std::to_string(std::popcount(m.arrived)) + " of " + std::to_string(std::popcount(m.mask)) +
                  " lanes of warp " + std::to_string(w) + " wait at " + text_of(m.site);
    return text + "; " + std::to_string(ended_) + " threads have ended";
  }

  static void lane_main();

  Behaviour behaviour_;
  const std::function<void()>* kernel_ = nullptr;
  int threads_ = 0, current_ = -1, ended_ = 0, waiting_ = 0;
  Site barrier_site_;
  std::string error_;
  Fiber host_;
  std::vector<Lane> lanes_;
  std::vector<std::vector<Meeting>> meetings_;  // of each warp
  ReadyThreads ready_;
  std::byte* shared_ = nullptr;
  uint64_t static_used_ = 0, dynamic_bytes_ = 0, shared_most_ = 0;
  std::vector<std::pair<const void*, std::byte*>> statics_;
};

// Each thread of the host runs its grids in one block.
Block& block() {
  static thread_local Block of_thread;
  return of_thread;
}

void Block::lane_main() {
  Fiber::entered();
  Block& self = block();
  (*self.kernel_)();
  if (!self.lane().copies.empty()) self.stop("a thread ended with copies that no wait covers");
  self.ended_++;
  self.go_on(self.lane().fiber, true);
  __builtin_unreachable();
}

}  // namespace

void fail(const std::string& what, const Site& site) { block().stop(what + ", " + text_of(site)); }
void fail_unaligned(uint64_t bytes, const Site& site) { fail("an address that is no multiple of " + std::to_string(bytes), site); }
int lane_of_thread() { return block().current() % kWarp; }
void barrier(const Site& site) { block().barrier(site); }
void meet(uint32_t mask, void* mine, const Site& site, Act act) { block().meet(mask, mine, site, act); }
std::byte* static_shared(const void* key, uint64_t bytes) { return block().static_memory(key, bytes); }
std::byte* dynamic_shared_memory() { return block().dynamic(); }

void copy_async(const AsyncCopy& copy) { block().lane().copies.issue(copy, block().behaviour().late); }
void commit_copies() { block().lane().copies.commit(); }
void wait_for_copies(int pending) { block().lane().copies.wait(pending); }

void run_grid(const Shape& shape, const Behaviour& behaviour, const std::function<void()>& kernel) {
  const auto refuse = [&](const char* what) {
    throw Error(ErrorCode::kInternal, "emulator", std::string("kernel ") + shape.name + ": " + what);
  };
  if (shape.block.count() < 1 || shape.block.count() > kMostFibers) refuse("a block has 1 to 1024 threads");
  if (shape.grid.count() < 1 || shape.grid.x > 0x7fffffffu || shape.grid.y > 65535 || shape.grid.z > 65535) refuse("no such grid");
  if (shape.shared_bytes > shape.shared_most) refuse("more dynamic shared memory than the launch may take");
  const uint64_t blocks = shape.grid.count();
  uint64_t step = 1, at = 0;
  if (behaviour.seed != 0) {
    at = behaviour.seed % blocks;
    for (step = (behaviour.seed * 2654435761u) % blocks + 1; std::gcd(step, blocks) != 1;) step++;
  }
  grid_size = shape.grid;
  block_size = shape.block;
  begin_counting(shape);
  for (uint64_t i = 0; i < blocks; i++, at = (at + step) % blocks) {
    block_index = Dim3(static_cast<unsigned>(at % shape.grid.x), static_cast<unsigned>(at / shape.grid.x % shape.grid.y),
                       static_cast<unsigned>(at / shape.grid.x / shape.grid.y));
    block().run(shape, behaviour, kernel);
    end_of_block(block().shared_bytes());
  }
}

}  // namespace espalier::cuda::emulator
