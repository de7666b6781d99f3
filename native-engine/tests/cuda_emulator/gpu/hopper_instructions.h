// Instructions of Hopper cards for g++: each function of backends/cuda/gpu/hopper_instructions.h has its second body here.
#pragma once
#include "blocks/phase_barriers.h"
#include "instructions.h"
#include "tensor_cores/group_products.h"
#include "tile_map.h"

namespace espalier::cuda::ESPALIER_TARGET {

struct PhaseBarrier {
  uint64_t opaque;
};
inline void start_barrier(PhaseBarrier* barrier, unsigned arrivals, const Site& site = Site::current()) {
  aligned::check(barrier, 8, site);
  emulator::phase_barriers().start(barrier, arrivals);
}
inline void show_barriers() {}
inline void arrive(PhaseBarrier* barrier, const Site& site = Site::current()) { emulator::phase_barriers().arrive(barrier, 0, site); }
inline void arrive_expecting(PhaseBarrier* barrier, unsigned bytes, const Site& site = Site::current()) {
  emulator::phase_barriers().arrive(barrier, bytes, site);
}
inline void wait_for_phase(PhaseBarrier* barrier, unsigned parity, const Site& site = Site::current()) {
  emulator::phase_barriers().wait(barrier, parity, site);
}

inline void copy_box(void* shared, const TileMap& map, int32_t row, int32_t col, PhaseBarrier* barrier,
                     const Site& site = Site::current()) {
  emulator::copy_box(shared, map.opaque, row, col, barrier, site);
}

inline uint64_t describe_factor(const void* shared, uint32_t next_box, uint32_t next_rows) {
  return (emulator::shared_address(shared) & 0x3ffff) >> 4 | uint64_t{next_box >> 4} << 16 | uint64_t{next_rows >> 4} << 32 |
         uint64_t{1} << 62;
}

template <bool across>
void multiply_group_bf16(float (&c)[128], uint64_t a, uint64_t b, bool add, const Site& site = Site::current()) {
  struct Given {
    float* c;
    uint64_t a, b;
    bool add;
  } mine{c, a, b, add};
  emulator::meet(kWholeWarp, &mine, site, [](void* const* by_lane) {
    emulator::GroupProduct product{};
    for (int l = 0; l < emulator::kWarp; l++) {
      const auto& given = *static_cast<Given*>(by_lane[l]);
      product.sums[l] = given.c;
      if (l > 0 && (given.a != product.a || given.b != product.b || given.add != product.add))
        emulator::fail("the lanes of a warp describe different factors", Site::current());
      product.a = given.a;
      product.b = given.b;
      product.add = given.add;
    }
    product.across = across;
    emulator::issue_group_product(product);
  });
}
inline void begin_group(const Site& site = Site::current()) { __syncwarp(kWholeWarp, site); }
inline void end_group(const Site& site = Site::current()) {
  emulator::meet(kWholeWarp, nullptr, site, [](void* const*) { emulator::group_products().commit(); });
}
template <int Pending>
void wait_for_groups(float (&)[128], const Site& site = Site::current()) {
  emulator::meet(kWholeWarp, nullptr, site, [](void* const*) { emulator::group_products().wait(Pending); });
}

template <int Registers>
void give_registers() {}
template <int Registers>
void take_registers() {}

}  // namespace espalier::cuda::ESPALIER_TARGET
