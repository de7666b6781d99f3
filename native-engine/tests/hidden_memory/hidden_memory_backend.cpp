#include "hidden_memory/hidden_memory_backend.h"

#include <sys/mman.h>

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <map>
#include <type_traits>

#include "hidden_memory/op_memory.h"

namespace espalier::test {

namespace {

std::atomic<int64_t> backward_count{0};

constexpr uint64_t kRange = uint64_t{64} << 30, kPage = 4096;

[[noreturn]] void die(const char* what) {
  std::fprintf(stderr, "hidden-memory device: %s\n", what);
  std::abort();
}

std::byte* reserve(int protection) {
  void* p = mmap(nullptr, kRange, protection, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (p == MAP_FAILED) die("cannot reserve its range");
  return static_cast<std::byte*>(p);
}

class HiddenMemoryBackend final : public Backend {
 public:
  explicit HiddenMemoryBackend(std::unique_ptr<Backend> worker)
      : worker_(std::move(worker)), shown_(reserve(PROT_NONE)), real_(reserve(PROT_NONE)) {}
  ~HiddenMemoryBackend() override {
    munmap(shown_, kRange);
    munmap(real_, kRange);
  }

  void attach_thread() override { worker_->attach_thread(); }

  void upload(DevicePtr<std::byte> to, const void* from, uint64_t bytes) override {
    const auto* begin = static_cast<const std::byte*>(from);
    const DevicePtr<std::byte> real = moved(to, static_cast<int64_t>(bytes));
    queue_.emplace_back([this, real, begin, kept = std::vector<std::byte>(begin, begin + bytes)] {
      if (std::memcmp(begin, kept.data(), kept.size()) != 0) die("the host memory of an upload changed before it was synchronized");
      worker_->upload(real, begin, kept.size());
    });
  }

  void download(void* to, DevicePtr<const std::byte> from, uint64_t bytes) override {
    const DevicePtr<const std::byte> real = moved(from, static_cast<int64_t>(bytes));
    synchronize();
    worker_->download(to, real, bytes);
  }

  void synchronize() override {
    for (const auto& work : queue_) work();
    queue_.clear();
    in_queue_.clear();
  }

 protected:
  // Allocates a buffer. Buffers lie pages apart, so that an access beyond one reaches no other.
  DevicePtr<std::byte> take(uint64_t bytes) override {
    const uint64_t pages = (bytes + kPage - 1) / kPage * kPage;
    if (next_ + pages + kPage > kRange) die("its range is used up");
    std::byte* at = shown_ + next_;
    if (pages > 0 && mprotect(real_ + next_, pages, PROT_READ | PROT_WRITE) != 0) die("cannot open memory");
    next_ += pages + kPage;
    const DevicePtr<std::byte> address(reinterpret_cast<uint64_t>(at));
    live_[address.address()] = bytes;
    return address;
  }

  void give_back(DevicePtr<std::byte> data, uint64_t bytes) override {
    if (in_queue_.contains(data.address())) die("a buffer was given back while the queue needs it");
    if (live_.erase(data.address()) == 0) die("a buffer was given back that is not there");
    // The address is never handed out again, so a later access finds no memory.
    const uint64_t pages = (bytes + kPage - 1) / kPage * kPage;
    mmap(at_real(data.address()), pages, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);
  }

#define ESPALIER_DEFER(Op) \
  void launch(const Op& op) override { defer(op); }
  ESPALIER_OPS(ESPALIER_DEFER)
#undef ESPALIER_DEFER

 private:
  std::byte* at_real(uint64_t address) const { return real_ + (address - reinterpret_cast<uint64_t>(shown_)); }

  // Returns the real place of `count` values, which must lie in one live buffer. nullptr stays nullptr.
  template <class T>
  DevicePtr<T> moved(DevicePtr<T> p, int64_t count) {
    if (!p) return p;
    auto buffer = live_.upper_bound(p.address());
    if (buffer == live_.begin()) die("an address outside of its memory");
    --buffer;
    const uint64_t offset = p.address() - buffer->first;
    if (count < 0 || offset + static_cast<uint64_t>(count) * sizeof(T) > buffer->second) die("memory that is no part of one live buffer");
    in_queue_[buffer->first] = true;
    return DevicePtr<T>(reinterpret_cast<uint64_t>(at_real(p.address())));
  }

  template <class Op>
  void defer(Op op) {
    if constexpr (std::is_same_v<Op, AttentionBackward>) backward_count++;
    move_memory(op, [this](auto p, int64_t count) { return moved(p, count); });
    queue_.emplace_back([this, op] { worker_->run(op); });
  }

  std::unique_ptr<Backend> worker_;
  std::byte *shown_, *real_;
  uint64_t next_ = kPage;
  std::map<uint64_t, uint64_t> live_;  // the address and the size in bytes of each buffer
  std::map<uint64_t, bool> in_queue_;  // the buffers that the queue still needs
  std::vector<std::function<void()>> queue_;
};

class HiddenMemoryKind final : public BackendKind {
 public:
  std::string name() const override { return kHiddenMemory; }
  std::vector<DeviceDescription> devices() const override {
    DeviceDescription d = worker().devices().at(0);
    d.name = name();
    d.kernels = {d.kernels_in_use};
    return {d};
  }
  std::string fingerprint(const BackendSpec& spec) const override { return "of " + worker().fingerprint(spec); }
  uint64_t scratch_bytes(const BackendSpec& spec, const ModelConfig& config, const ScratchShape& shape) const override {
    return worker().scratch_bytes(spec, config, shape);
  }
  StepForm step_form() const override { return worker().step_form(); }
  bool has_own_memory() const override { return worker().has_own_memory(); }
  std::unique_ptr<Backend> make(const BackendSpec& spec) const override {
    return std::make_unique<HiddenMemoryBackend>(worker().make(spec));
  }

 private:
  static const BackendKind& worker() { return *compiled_backends().back(); }
};

}  // namespace

int64_t backward_passes() { return backward_count; }

const BackendKind& hidden_memory_kind() {
  static const HiddenMemoryKind kind;
  return kind;
}

// The kind is registered before the first test gets its name.
[[maybe_unused]] static const bool registered = (add_backend(hidden_memory_kind()), true);

}  // namespace espalier::test
