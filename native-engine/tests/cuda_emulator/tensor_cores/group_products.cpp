#include "tensor_cores/group_products.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <limits>

#include "counters.h"
#include "tensor_cores/tensor_core.h"

namespace espalier::cuda::emulator {

namespace {

constexpr int kDepth = kTileDepth, kRows = kTileRows;

struct Descriptor {
  uint32_t start, next_box, next_rows;

  explicit Descriptor(uint64_t bits)
      : start(static_cast<uint32_t>(bits & 0x3fff) << 4),
        next_box(static_cast<uint32_t>(bits >> 16 & 0x3fff) << 4),
        next_rows(static_cast<uint32_t>(bits >> 32 & 0x3fff) << 4) {
    if (bits >> 62 != 1 || (bits >> 49 & 7) != 0) fail("a descriptor that is not of rows of 128 permuted bytes", Site::current());
  }
};

// Calls put(i, value) for the values of the piece at an address of a factor. The device permutes pieces by the address, so a tile has to
// begin at a multiple of 1024.
template <class Put>
void read_piece(uint32_t address, const Put& put) {
  uint16_t bits[kPiece / 2];
  std::memcpy(bits, shared_at(permuted(address), kPiece), kPiece);
  for (uint32_t i = 0; i < kPiece / 2; i++) put(i, std::bit_cast<float>(static_cast<uint32_t>(bits[i]) << 16));
}

// Returns `kDepth` values along the depth, of one row of a factor whose rows go along the depth.
Factors along(const Descriptor& d, uint32_t row) {
  Factors f;
  for (uint32_t k = 0; k < kDepth; k += 8)
    read_piece(d.start + row / 8 * d.next_rows + row % 8 * 128 + k / 8 * kPiece, [&](uint32_t i, float v) { f.values[k + i] = v; });
  f.set_exponents();
  return f;
}

// Does the same for columns from `first` on, of a factor whose rows go across the depth.
void read_across(const Descriptor& d, uint32_t first, Factors (&columns)[kTileColumns]) {
  static_assert(kTileColumns == kPiece / 2);
  for (uint32_t k = 0; k < kDepth; k++)
    read_piece(d.start + first / 64 * d.next_box + k / 8 * d.next_rows + k % 8 * 128 + first % 64 / 8 * kPiece,
               [&](uint32_t i, float v) { columns[i].values[k] = v; });
  for (Factors& column : columns) column.set_exponents();
}

// lane_sums(lane): the lane's values.
template <class LaneSums>
void multiply(const GroupProduct& p, int warp, const LaneSums& lane_sums) {
  const Descriptor a(p.a), b(p.b);
  Factors rows[kRows], columns[kTileColumns];
  for (int r = 0; r < kRows; r++) rows[r] = along(a, static_cast<uint32_t>(warp % 4 * kRows + r));
  for (int j = 0; j < GroupProducts::kCols / kTileColumns; j++) {
    const auto first = static_cast<uint32_t>(j * kTileColumns);
    if (p.across)
      read_across(b, first, columns);
    else
      for (uint32_t c = 0; c < kTileColumns; c++) columns[c] = along(b, first + c);
    float sums[kRows][kTileColumns];
    const auto with_sums = [&](auto&& f) {
      for (int l = 0; l < kWarp; l++)
        for (int r = 0; r < 4; r++) f(lane_sums(l)[4 * j + r], sums[l / 4 + 8 * (r / 2)][2 * (l % 4) + r % 2]);
    };
    with_sums([&](float& of_lane, float& sum) { sum = p.add ? of_lane : 0.0f; });
    add_tile(tensor_core(), sums, rows, columns);
    with_sums([](float& of_lane, float& sum) { of_lane = sum; });
  }
  note_flops(int64_t{2} * kRows * GroupProducts::kCols * kDepth);
}

}  // namespace

void GroupProducts::issue(const GroupProduct& product, int warp, bool late) {
  if (!late) return multiply(product, warp, [&](int lane) { return product.sums[lane]; });
  const auto same = std::find_if(waiting_.begin(), waiting_.end(), [&](const Waiting& w) { return w.held->lanes == product.sums; });
  std::shared_ptr<Held> held = same == waiting_.end() ? std::make_shared<Held>() : same->held;
  if (held->products++ == 0) {
    held->lanes = product.sums;
    held->values.resize(kWarp * kValues);
    for (int l = 0; l < kWarp; l++) {
      std::copy_n(product.sums[l], kValues, &held->values[l * kValues]);
      std::fill_n(product.sums[l], kValues, std::numeric_limits<float>::quiet_NaN());
    }
  }
  waiting_.push_back({product, held, warp, groups_});
}

void GroupProducts::wait(int pending) {
  const auto first_left = std::find_if(waiting_.begin(), waiting_.end(), [&](const Waiting& w) { return w.group >= groups_ - pending; });
  for (auto w = waiting_.begin(); w != first_left; ++w) {
    Held& held = *w->held;
    multiply(w->product, w->warp, [&](int lane) { return &held.values[lane * kValues]; });
    if (--held.products > 0) continue;
    for (int l = 0; l < kWarp; l++) std::copy_n(&held.values[l * kValues], kValues, held.lanes[l]);
  }
  waiting_.erase(waiting_.begin(), first_left);
}

void GroupProducts::clear() {
  waiting_.clear();
  groups_ = 0;
}

}  // namespace espalier::cuda::emulator
