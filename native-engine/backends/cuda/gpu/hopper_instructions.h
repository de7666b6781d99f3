// Instructions of Hopper cards (sm_90a) alone: copies of whole tiles, barriers that wait for them, and products by four warps together.
// Each has a second body in the emulator's header of the same name.
#pragma once
#include "instructions.h"
#include "tile_map.h"

namespace espalier::cuda::ESPALIER_TARGET {

// A kernel that was compiled for another card stops at them.
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
#define ESPALIER_HOPPER_ASM(...) asm volatile(__VA_ARGS__)
#else
#define ESPALIER_HOPPER_ASM(...) __trap()
#endif

// An object in shared memory at which threads wait for copies or for other threads. Its phases have the parities 0, 1, 0, ... A phase ends
// when the expected number of threads has arrived and the expected bytes have been copied.
struct PhaseBarrier {
  uint64_t opaque;
};
__device__ __forceinline__ void start_barrier(PhaseBarrier* barrier, unsigned arrivals) {
  ESPALIER_HOPPER_ASM("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(shared_address(barrier)), "r"(arrivals) : "memory");
}
// Shows started barriers to copies and, after a __syncthreads, to the other threads.
__device__ __forceinline__ void show_barriers() {
  ESPALIER_HOPPER_ASM("fence.mbarrier_init.release.cluster;\n fence.proxy.async.shared::cta;" :: : "memory");
}
__device__ __forceinline__ void arrive(PhaseBarrier* barrier) {
  ESPALIER_HOPPER_ASM("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(shared_address(barrier)) : "memory");
}
__device__ __forceinline__ void arrive_expecting(PhaseBarrier* barrier, unsigned bytes) {
  ESPALIER_HOPPER_ASM("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(shared_address(barrier)), "r"(bytes) : "memory");
}
// Waits until a phase of this parity has ended, which is the running one or the one before it.
__device__ __forceinline__ void wait_for_phase(PhaseBarrier* barrier, unsigned parity) {
  uint32_t ended = 0;
  while (ended == 0)
    ESPALIER_HOPPER_ASM("{\n .reg .pred p;\n mbarrier.try_wait.parity.shared::cta.b64 p, [%1], %2;\n selp.u32 %0, 1, 0, p;\n}" : "=r"(
                            ended) : "r"(shared_address(barrier)),
                        "r"(parity) : "memory");
}

// Copies the box whose first value is at (row, col) to shared memory, at a multiple of 1024 bytes: rows of 128 bytes, one after the other,
// whose pieces of 16 bytes are permuted by the row's number modulo 8. Zeros stand for what lies beyond the matrix. The barrier counts the
// bytes of the whole box.
__device__ __forceinline__ void copy_box(void* shared, const TileMap& map, int32_t row, int32_t col, PhaseBarrier* barrier) {
  ESPALIER_HOPPER_ASM("cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1, {%3, %4}], [%2];" ::"r"(
                          shared_address(shared)),
                      "l"(&map), "r"(shared_address(barrier)), "r"(col), "r"(row) : "memory");
}

// Describes a factor in shared memory that copy_box wrote. For a factor whose rows go along the depth, `next_rows` is the bytes from eight
// rows to the next eight. For one whose rows go across the depth, `next_rows` says the same, and `next_box` the bytes from 64 columns to
// the next 64.
__device__ __forceinline__ uint64_t describe_factor(const void* shared, uint32_t next_box, uint32_t next_rows) {
  constexpr uint64_t kPermuted128 = uint64_t{1} << 62;
  return (shared_address(shared) & 0x3ffff) >> 4 | uint64_t{next_box >> 4} << 16 | uint64_t{next_rows >> 4} << 32 | kPermuted128;
}

// c (+)= a b of bf16 for the four warps of a warpgroup: a [64, 16], b [16, 256], c [64, 256] f32. It runs beside the threads until
// wait_for_groups. With w the warp's number in the group, g = lane / 4 and t = 2 (lane % 4), a lane has in c[4 j] to c[4 j + 3] the values
// at (16 w + g, 8 j + t) (16 w + g, 8 j + t + 1) (16 w + g + 8, 8 j + t) (16 w + g + 8, 8 j + t + 1). across: the rows of b in shared
// memory go across the depth. add: c is added to; otherwise its values before don't matter.
template <bool across>
__device__ __forceinline__ void multiply_group_bf16(float (&c)[128], uint64_t a, uint64_t b, bool add) {
#define ESPALIER_SUMS(i) "+f"(c[i]), "+f"(c[i + 1]), "+f"(c[i + 2]), "+f"(c[i + 3])
#define ESPALIER_SUMS_OF(i) ESPALIER_SUMS(i), ESPALIER_SUMS(i + 4), ESPALIER_SUMS(i + 8), ESPALIER_SUMS(i + 12)
  ESPALIER_HOPPER_ASM(
      "{\n .reg .pred p;\n setp.ne.b32 p, %130, 0;\n wgmma.mma_async.sync.aligned.m64n256k16.f32.bf16.bf16 {"
      "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "
      "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, "
      "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, "
      "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63, "
      "%64, %65, %66, %67, %68, %69, %70, %71, %72, %73, %74, %75, %76, %77, %78, %79, "
      "%80, %81, %82, %83, %84, %85, %86, %87, %88, %89, %90, %91, %92, %93, %94, %95, "
      "%96, %97, %98, %99, %100, %101, %102, %103, %104, %105, %106, %107, %108, %109, %110, %111, "
      "%112, %113, %114, %115, %116, %117, %118, %119, %120, %121, %122, %123, %124, %125, %126, %127}, "
      "%128, %129, p, 1, 1, 0, %131;\n}" : ESPALIER_SUMS_OF(0),
      ESPALIER_SUMS_OF(16), ESPALIER_SUMS_OF(32), ESPALIER_SUMS_OF(48), ESPALIER_SUMS_OF(64), ESPALIER_SUMS_OF(80), ESPALIER_SUMS_OF(96),
      ESPALIER_SUMS_OF(112) : "l"(a), "l"(b), "r"(static_cast<uint32_t>(add)), "n"(across ? 1 : 0));
#undef ESPALIER_SUMS_OF
#undef ESPALIER_SUMS
}
// Stands before the first multiply_group_bf16 of a group, so that it sees the values of c.
__device__ __forceinline__ void begin_group() { ESPALIER_HOPPER_ASM("wgmma.fence.sync.aligned;" :: : "memory"); }
__device__ __forceinline__ void end_group() { ESPALIER_HOPPER_ASM("wgmma.commit_group.sync.aligned;" :: : "memory"); }
// Waits until at most `Pending` of the last groups still run. The compiler may not read c earlier.
template <int Pending>
__device__ __forceinline__ void wait_for_groups(float (&c)[128]) {
  ESPALIER_HOPPER_ASM("wgmma.wait_group.sync.aligned %0;" ::"n"(Pending) : "memory");
  SIMT_UNROLL
  for (int i = 0; i < 128; i++) asm volatile("" : "+f"(c[i])::"memory");
}

// A warpgroup gives back registers, or takes them, so that it has this many for each thread.
template <int Registers>
__device__ __forceinline__ void give_registers() {
  ESPALIER_HOPPER_ASM("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(Registers));
}
template <int Registers>
__device__ __forceinline__ void take_registers() {
  ESPALIER_HOPPER_ASM("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(Registers));
}

}  // namespace espalier::cuda::ESPALIER_TARGET
