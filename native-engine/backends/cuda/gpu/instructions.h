// Single instructions of the device. Each has a second body in the emulator's header of the same name.
#pragma once
#include "simt.h"

namespace espalier::cuda::ESPALIER_TARGET {

__device__ __forceinline__ uint32_t shared_address(const void* p) { return static_cast<uint32_t>(__cvta_generic_to_shared(p)); }

// Copies 16 bytes from global to shared memory without passing through registers. The calling thread sees them after copy_async_wait, other
// threads only after a barrier too.
__device__ __forceinline__ void copy_async16(void* shared, const void* global) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(shared_address(shared)), "l"(__cvta_generic_to_global(global)) : "memory");
}
// Copies the first `bytes` (0 to 16) in the same way and fills the rest of the 16 bytes with zeros. It reads nothing behind the first
// `bytes`.
__device__ __forceinline__ void copy_async16(void* shared, const void* global, int bytes) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(shared)), "l"(__cvta_generic_to_global(global)),
               "r"(bytes)
               : "memory");
}
__device__ __forceinline__ void copy_async_commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }
// Waits until at most `Pending` of the thread's last groups are still being copied.
template <int Pending>
__device__ __forceinline__ void copy_async_wait() {
  asm volatile("cp.async.wait_group %0;" ::"n"(Pending) : "memory");
}

// Loads four 8 x 8 matrices of 16-bit values from shared memory. Lane 8 i + r gives the address (16-byte aligned) of row r of matrix i.
// Lane l gets from each matrix the pair at row l / 4, columns 2 (l % 4) and the next one. In the transposed form rows and columns are
// exchanged.
__device__ __forceinline__ void load_matrices(uint32_t (&out)[4], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(out[0]), "=r"(out[1]), "=r"(out[2]), "=r"(out[3])
               : "r"(shared_address(row))
               : "memory");
}
__device__ __forceinline__ void load_matrices_transposed(uint32_t (&out)[4], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(out[0]), "=r"(out[1]), "=r"(out[2]), "=r"(out[3])
               : "r"(shared_address(row))
               : "memory");
}

// c += a b of bf16: a [16, 16], b [16, 8], c [16, 8] f32. With g = lane / 4 and t = 2 (lane % 4), a lane holds these values; those of a and
// b are pairs:
//  - a: pairs of columns that begin at (g, t) (g + 8, t) (g, t + 8) (g + 8, t + 8)
//  - b: pairs of rows that begin at (t, g) (t + 8, g)
//  - c: (g, t) (g, t + 1) (g + 8, t) (g + 8, t + 1)
__device__ __forceinline__ void multiply_bf16(float (&c)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
  asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

// Rounds to the nearest, ties to even; every NaN becomes 0x7fff.
__device__ __forceinline__ uint16_t round_to_bf16(float v) {
  uint16_t bits;
  asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(bits) : "f"(v));
  return bits;
}

// 2^v by the device's fast instruction, with a relative error of 2^-22. Its bits differ from the emulator's.
__device__ __forceinline__ float fast_exp2(float v) {
  float r;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(r) : "f"(v));
  return r;
}

}  // namespace espalier::cuda::ESPALIER_TARGET
