#include "counters.h"

#include <algorithm>
#include <array>
#include <unordered_map>
#include <vector>

namespace espalier::cuda::emulator {

constinit thread_local Counters* counted = nullptr;

namespace {

thread_local Counting* asked = nullptr;
thread_local Counters* launched = nullptr;  // the counters of the running kernel, also where only launches are counted

// The accesses of a warp in one instruction. Lanes run one after the other, so they are put together here: the n-th access of each lane at
// one place of the source belongs to the n-th access of the other lanes there.
struct Access {
  uint64_t at = 0;
  uint32_t bytes = 0;  // 0 where the lane has no part
};
using WarpAccess = std::array<Access, kWarp>;

// An instruction that touches both kinds of memory may leave one out in some lanes, so each is counted by itself.
struct Source {
  const char* file;
  uint32_t line, column;
  Space space;
  bool operator==(const Source&) const = default;
};
struct SourceHash {
  size_t operator()(const Source& s) const {
    return reinterpret_cast<size_t>(s.file) ^ (size_t{s.line} << 20) ^ (size_t{s.column} << 1) ^ static_cast<size_t>(s.space);
  }
};
struct AtSource {
  std::vector<uint32_t> times;      // how often each thread of the block has come here
  std::vector<WarpAccess> of_warp;  // [time * warps + warp]
};
thread_local std::unordered_map<Source, AtSource, SourceHash> sources;

void sort_and_leave_each_once(std::vector<uint64_t>& values) {
  std::sort(values.begin(), values.end());
  values.erase(std::unique(values.begin(), values.end()), values.end());
}

void add_global(const WarpAccess& warp) {
  static thread_local std::vector<uint64_t> sectors;
  sectors.clear();
  for (const Access& a : warp) {
    if (a.bytes == 0) continue;
    counted->global_bytes += a.bytes;
    for (uint64_t s = a.at / 32; s <= (a.at + a.bytes - 1) / 32; s++) sectors.push_back(s);
  }
  if (sectors.empty()) return;
  sort_and_leave_each_once(sectors);
  counted->global_requests++;
  counted->global_sectors += sectors.size();
}

// Counts an access to shared memory: it has 32 banks of 4 bytes, and lanes that take 8 or 16 bytes go in 2 or 4 parts of the warp.
void add_shared(const WarpAccess& warp) {
  static thread_local std::vector<uint64_t> words;
  uint32_t bytes = 4;
  for (const Access& a : warp) bytes = std::max(bytes, a.bytes);
  const int lanes = kWarp * 4 / static_cast<int>(bytes);
  for (int first = 0; first < kWarp; first += lanes) {
    words.clear();
    for (int lane = first; lane < first + lanes; lane++) {
      const Access& a = warp[static_cast<size_t>(lane)];
      for (uint64_t w = a.at / 4; a.bytes > 0 && w <= (a.at + a.bytes - 1) / 4; w++) words.push_back(w);
    }
    if (words.empty()) continue;
    sort_and_leave_each_once(words);
    std::array<uint64_t, 32> in_bank{};  // the different words that are accessed in each bank
    for (const uint64_t w : words) in_bank[w % 32]++;
    counted->shared_requests++;
    counted->bank_conflicts += *std::max_element(in_bank.begin(), in_bank.end()) - 1;
  }
}

}  // namespace

Counting::Counting(Details details) : details_(details) { asked = this; }
Counting::~Counting() {
  asked = nullptr;
  launched = counted = nullptr;
}

void begin_counting(const Shape& shape) {
  launched = counted = nullptr;
  if (!asked) return;
  launched = &asked->all_[shape.name];
  launched->launches++;
  if (asked->details_ == Details::kLaunches) return;
  counted = launched;
  sources.clear();  // a block that failed left accesses
}

// A copy reads its bytes and writes them.
void note_copy(uint64_t bytes) {
  if (!asked) return;
  Counters& copies = asked->all_["copy"];
  copies.launches++;
  copies.global_bytes += 2 * bytes;
}

void note_access(Space space, const void* at, uint32_t bytes, const Site& site) {
  const uint64_t thread = thread_index.x + uint64_t{block_size.x} * (thread_index.y + uint64_t{block_size.y} * thread_index.z);
  const uint64_t warps = (block_size.count() + kWarp - 1) / kWarp;
  AtSource& here = sources[{site.file_name(), site.line(), site.column(), space}];
  if (here.times.empty()) here.times.resize(block_size.count());
  const uint64_t i = here.times[thread]++ * warps + thread / kWarp;
  if (i >= here.of_warp.size()) here.of_warp.resize(i + 1);
  here.of_warp[i][thread % kWarp] = {reinterpret_cast<uint64_t>(at), bytes};
}

void end_of_block(uint64_t shared_bytes) {
  if (launched) launched->shared_bytes = std::max(launched->shared_bytes, shared_bytes);
  if (!counted) return;
  counted->blocks++;
  for (auto& [source, here] : sources) {
    for (const WarpAccess& warp : here.of_warp) source.space == Space::kGlobal ? add_global(warp) : add_shared(warp);
    here.times.clear();
    here.of_warp.clear();
  }
}

}  // namespace espalier::cuda::emulator
