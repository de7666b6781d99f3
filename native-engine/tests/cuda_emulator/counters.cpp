#include "counters.h"

#include <algorithm>
#include <set>
#include <tuple>
#include <vector>

namespace espalier::cuda::emulator {

constinit thread_local Counters* counted = nullptr;

namespace {

thread_local Counting* asked = nullptr;

// An access to memory by one lane. Lanes run one after the other, so the accesses that a warp makes in one instruction are put together
// afterwards: the n-th access of each lane at one place of the source belongs to the n-th access of the other lanes there.
struct Access {
  int lane;
  uint64_t at;
  uint32_t bytes;
};
struct Place {
  int warp;
  uint32_t line, column;
  const char* file;
  uint32_t time;
  Space space;
  auto operator<=>(const Place&) const = default;
};
thread_local std::map<Place, std::vector<Access>> accesses;
// Counted for each kind of memory by itself: an instruction that touches both may leave one out in some lanes.
thread_local std::map<std::tuple<uint64_t, uint32_t, uint32_t, const char*, Space>, uint32_t> times;

void add_global(const std::vector<Access>& warp) {
  std::set<uint64_t> sectors;
  for (const Access& a : warp) {
    counted->global_bytes += a.bytes;
    for (uint64_t s = a.at / 32; s <= (a.at + a.bytes - 1) / 32; s++) sectors.insert(s);
  }
  counted->global_requests++;
  counted->global_sectors += sectors.size();
}

// Counts an access to shared memory: it has 32 banks of 4 bytes, and lanes that take 8 or 16 bytes go in 2 or 4 parts of the warp.
void add_shared(const std::vector<Access>& warp) {
  uint32_t bytes = 4;
  for (const Access& a : warp) bytes = std::max(bytes, a.bytes);
  const int lanes = kWarp * 4 / static_cast<int>(bytes);
  for (int first = 0; first < kWarp; first += lanes) {
    std::map<uint64_t, std::set<uint64_t>> words;  // the words that are accessed in each bank
    for (const Access& a : warp)
      if (a.lane >= first && a.lane < first + lanes)
        for (uint64_t w = a.at / 4; w <= (a.at + a.bytes - 1) / 4; w++) words[w % 32].insert(w);
    uint64_t turns = 0;
    for (const auto& [bank, different] : words) turns = std::max<uint64_t>(turns, different.size());
    if (turns == 0) continue;
    counted->shared_requests++;
    counted->bank_conflicts += turns - 1;
  }
}

}  // namespace

Counting::Counting() { asked = this; }
Counting::~Counting() {
  asked = nullptr;
  counted = nullptr;
}

void begin_counting(const Shape& shape) {
  counted = asked ? &asked->all_[shape.name] : nullptr;
  if (counted) counted->launches++;
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
  const uint32_t time = times[{thread, site.line(), site.column(), site.file_name(), space}]++;
  accesses[{static_cast<int>(thread / kWarp), site.line(), site.column(), site.file_name(), time, space}].push_back(
      {static_cast<int>(thread % kWarp), reinterpret_cast<uint64_t>(at), bytes});
}

void end_of_block() {
  if (!counted) return;
  counted->blocks++;
  for (const auto& [place, warp] : accesses) place.space == Space::kGlobal ? add_global(warp) : add_shared(warp);
  accesses.clear();
  times.clear();
}

}  // namespace espalier::cuda::emulator
