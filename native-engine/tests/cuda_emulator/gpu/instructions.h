// Single instructions of the device for g++: each function of backends/cuda/gpu/instructions.h has its second body here.
#pragma once
#include <bit>
#include <cstring>

#include "simt.h"
#include "tensor_cores/tensor_core.h"

namespace espalier::cuda::ESPALIER_TARGET {

inline void copy_async16(void* shared, const void* global, int bytes, const Site& site = Site::current()) {
  aligned::check(shared, 16, site);
  aligned::check(global, 16, site);
  emulator::touch(emulator::Space::kShared, shared, 16, site);
  if (bytes > 0) emulator::touch(emulator::Space::kGlobal, global, static_cast<uint32_t>(bytes), site);
  emulator::copy_async({static_cast<std::byte*>(shared), static_cast<const std::byte*>(global), bytes});
}
inline void copy_async16(void* shared, const void* global, const Site& site = Site::current()) { copy_async16(shared, global, 16, site); }
inline void copy_async_commit() { emulator::commit_copies(); }
template <int Pending>
void copy_async_wait() {
  emulator::wait_for_copies(Pending);
}

template <bool Transposed>
void load_matrices_as(uint32_t (&out)[4], const void* row, const Site& site) {
  aligned::check(row, 16, site);
  emulator::touch(emulator::Space::kShared, row, 16, site);
  struct Given {
    const uint16_t* row;
    uint32_t* out;
  } mine{static_cast<const uint16_t*>(row), out};
  emulator::meet(kWholeWarp, &mine, site, [](void* const* by_lane) {
    for (int m = 0; m < 4; m++) {
      uint16_t values[8][8];
      for (int r = 0; r < 8; r++) std::memcpy(values[r], static_cast<Given*>(by_lane[8 * m + r])->row, sizeof(values[r]));
      const auto value = [&](int r, int c) -> uint32_t { return values[r][c]; };
      for (int l = 0; l < emulator::kWarp; l++) {
        const int i = l / 4, j = 2 * (l % 4);
        static_cast<Given*>(by_lane[l])->out[m] = Transposed ? value(j, i) | value(j + 1, i) << 16 : value(i, j) | value(i, j + 1) << 16;
      }
    }
  });
}
inline void load_matrices(uint32_t (&out)[4], const void* row, const Site& site = Site::current()) {
  load_matrices_as<false>(out, row, site);
}
inline void load_matrices_transposed(uint32_t (&out)[4], const void* row, const Site& site = Site::current()) {
  load_matrices_as<true>(out, row, site);
}

// Tells whether a pair of bf16 values holds an infinity or NaN.
inline bool has_no_number(uint32_t pair) { return (pair & 0x7f80u) == 0x7f80u || (pair & 0x7f800000u) == 0x7f800000u; }

// Adds products as a tensor core does; see tensor_core.h.
inline void multiply_bf16(float (&c)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], const Site& site = Site::current()) {
  struct Given {
    float* c;
    const uint32_t *a, *b;
  } mine{c, a, b};
  emulator::meet(kWholeWarp, &mine, site, [](void* const* by_lane) {
    emulator::note_flops(2 * 16 * 8 * 16);
    // Much of a tile that is not full is zeros, which add nothing to numbers.
    uint32_t of_a = 0, of_b = 0;
    bool numbers = true;
    for (int l = 0; l < emulator::kWarp; l++) {
      const auto& given = *static_cast<Given*>(by_lane[l]);
      for (int r = 0; r < 4; r++) {
        of_a |= given.a[r];
        numbers &= !has_no_number(given.a[r]);
      }
      for (int r = 0; r < 2; r++) {
        of_b |= given.b[r];
        numbers &= !has_no_number(given.b[r]);
      }
    }
    if (numbers && ((of_a & 0x7fff7fffu) == 0 || (of_b & 0x7fff7fffu) == 0)) return;

    emulator::Factors rows[16], columns[8];
    const auto low = [](uint32_t pair) { return std::bit_cast<float>(pair << 16); };
    const auto high = [](uint32_t pair) { return std::bit_cast<float>(pair & 0xffff0000u); };
    for (int l = 0; l < emulator::kWarp; l++) {
      const auto& given = *static_cast<Given*>(by_lane[l]);
      const int g = l / 4, t = 2 * (l % 4);
      for (int r = 0; r < 4; r++) {
        float* to = &rows[g + 8 * (r % 2)].values[t + 8 * (r / 2)];
        to[0] = low(given.a[r]);
        to[1] = high(given.a[r]);
      }
      for (int r = 0; r < 2; r++) {
        columns[g].values[t + 8 * r] = low(given.b[r]);
        columns[g].values[t + 8 * r + 1] = high(given.b[r]);
      }
    }
    for (emulator::Factors& row : rows) row.set_exponents();
    for (emulator::Factors& column : columns) column.set_exponents();
    float sums[16][8];
    const auto with_sums = [&](auto&& f) {
      for (int l = 0; l < emulator::kWarp; l++)
        for (int r = 0; r < 4; r++) f(static_cast<Given*>(by_lane[l])->c[r], sums[l / 4 + 8 * (r / 2)][2 * (l % 4) + r % 2]);
    };
    with_sums([](float& of_lane, float& sum) { sum = of_lane; });
    emulator::add_tile(emulator::tensor_core(), sums, rows, columns);
    with_sums([](float& of_lane, float& sum) { of_lane = sum; });
  });
}

inline uint16_t round_to_bf16(float v) {
  const auto bits = std::bit_cast<uint32_t>(v);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return 0x7fff;
  return static_cast<uint16_t>((bits + 0x7fffu + (bits >> 16 & 1)) >> 16);
}

inline float fast_exp2(float v) { return v < -126.0f ? 0.0f : std::exp2(v); }

}  // namespace espalier::cuda::ESPALIER_TARGET
