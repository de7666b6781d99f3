#include "blocks/phase_barriers.h"

#include <algorithm>
#include <cstring>
#include <string>

#include "counters.h"
#include "espalier/base/error.h"
#include "tile_map.h"

namespace espalier::cuda::emulator {

void PhaseBarriers::start(const void* at, unsigned arrivals) {
  One& barrier = all_[at] = {};
  barrier.arrivals = barrier.missing = arrivals;
}

PhaseBarriers::One& PhaseBarriers::one(const void* at, const Site& site) {
  const auto found = all_.find(at);
  if (found == all_.end()) fail("a barrier that was not started", site);
  return found->second;
}

void PhaseBarriers::arrive(const void* at, unsigned expected_bytes, const Site& site) {
  One& barrier = one(at, site);
  if (barrier.missing == 0) fail("more threads arrive at a barrier than it expects", site);
  barrier.bytes += expected_bytes;
  barrier.missing--;
  end_phase_if_done(barrier);
}

void PhaseBarriers::wait(const void* at, unsigned parity, const Site& site) {
  One& barrier = one(at, site);
  while (barrier.parity == parity) {
    if (!barrier.copies.empty()) {
      run_copies(barrier);
      continue;
    }
    barrier.waiting.push_back(current_thread());
    wait_to_be_woken();
  }
}

void PhaseBarriers::copy(const void* at, std::function<void()> copy, unsigned bytes, const Site& site) {
  One& barrier = one(at, site);
  barrier.copies.push_back({std::move(copy), bytes});
  if (!works_late() || !barrier.waiting.empty()) run_copies(barrier);
}

void PhaseBarriers::run_copies(One& barrier) {
  while (!barrier.copies.empty()) {
    const Copy copy = std::move(barrier.copies.front());
    barrier.copies.pop_front();
    copy.run();
    barrier.bytes -= copy.bytes;
    end_phase_if_done(barrier);
  }
}

void PhaseBarriers::end_phase_if_done(One& barrier) {
  if (barrier.missing > 0 || barrier.bytes != 0) return;
  barrier.missing = barrier.arrivals;
  barrier.parity ^= 1;
  for (const int thread : barrier.waiting) wake_thread(thread);
  barrier.waiting.clear();
}

bool PhaseBarriers::has_copies() const {
  for (const auto& [at, barrier] : all_)
    if (!barrier.copies.empty()) return true;
  return false;
}

std::string PhaseBarriers::waiting() const {
  size_t threads = 0;
  for (const auto& [at, barrier] : all_) threads += barrier.waiting.size();
  return threads == 0 ? "" : std::to_string(threads) + " threads wait for phases of barriers";
}

namespace {

// The content of a tile map on the emulator.
struct Map {
  uint64_t values;
  int64_t rows, cols, stride;
  int box_rows;
};
constexpr uint32_t kRowBytes = 128;

// Copies a row of a box; zeros stand for what lies beyond the matrix.
void copy_row(const Map& map, int64_t row, int64_t col, uint32_t address) {
  for (uint32_t at = 0; at < kRowBytes; at += kPiece) {
    std::byte* const to = shared_at(permuted(address + at), kPiece);
    const int64_t first = col + at / 2, begin = std::max<int64_t>(first, 0), end = std::min<int64_t>(first + kPiece / 2, map.cols);
    std::memset(to, 0, kPiece);
    if (row < 0 || row >= map.rows || begin >= end) continue;
    std::memcpy(to + (begin - first) * 2, reinterpret_cast<const std::byte*>(map.values) + (row * map.stride + begin) * 2,
                static_cast<size_t>(end - begin) * 2);
  }
}

// Counts the 32-byte sectors of each row that lie in the matrix.
void count_reads(const Map& map, int64_t row, int64_t col) {
  if (!counted) return;
  const int64_t cols = std::min<int64_t>(map.cols - col, kRowBytes / 2);
  for (int64_t r = row; cols > 0 && r < std::min<int64_t>(map.rows, row + map.box_rows); r++) {
    const uint64_t first = map.values + static_cast<uint64_t>(r * map.stride + col) * 2, end = first + static_cast<uint64_t>(cols) * 2;
    counted->global_sectors += (end + 31) / 32 - first / 32;
    counted->global_bytes += end - first;
  }
}

}  // namespace

void copy_box(void* shared, const uint64_t* opaque, int32_t row, int32_t col, const void* barrier, const Site& site) {
  Map map;
  std::memcpy(&map, opaque, sizeof(map));
  const uint32_t address = shared_address(shared);
  if (address % 1024 != 0) fail("a box begins at no multiple of 1024 bytes of shared memory", site);
  count_reads(map, row, col);
  const auto bytes = static_cast<uint32_t>(map.box_rows) * kRowBytes;
  std::memset(shared_at(address, bytes), 0xff, bytes);  // until the copy is done, the place holds nothing
  const auto run = [=] {
    for (int r = 0; r < map.box_rows; r++) copy_row(map, row + r, col, address + static_cast<uint32_t>(r) * kRowBytes);
  };
  phase_barriers().copy(barrier, run, bytes, site);
}

}  // namespace espalier::cuda::emulator

namespace espalier::cuda::ESPALIER_TARGET {

bool has_tile_maps() { return true; }

TileMap make_tile_map(const void* values, int64_t rows, int64_t cols, int64_t stride, int box_rows) {
  const auto address = reinterpret_cast<uint64_t>(values);
  if (address % 16 != 0 || stride % 8 != 0 || rows < 1 || cols < 1 || box_rows < 1 || box_rows > 256)
    throw Error(ErrorCode::kInternal, "emulator", "a matrix of which no tile map can be made");
  const emulator::Map map{address, rows, cols, stride, box_rows};
  TileMap made{};
  static_assert(sizeof(map) <= sizeof(made));
  std::memcpy(&made, &map, sizeof(map));
  return made;
}

}  // namespace espalier::cuda::ESPALIER_TARGET
