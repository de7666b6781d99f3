// activation(gate) * up of gate_up [N, 2 I], and its gradient. gate and up are scaled by their mask, here or by their products, so the
// mask's gradient is a column sum, and the gradients of gate and up are scaled by the mask as well.
//
// Forward, a block has one row. Backward, a thread has four columns and goes down the rows of its block's part, so that the sums stay in
// registers; a warp reads whole sectors of a row. A thread reads a value before it writes over it, so the gradients may overwrite gate_up,
// and out may overwrite dout. The kernels are limited by their bytes: 6 for each unit forward and 12 backward, where compute is bf16.
#include "cuda_backend.h"
#include "exp2.h"
#include "reduce.h"
#include "rows/row_parts.h"

namespace espalier::cuda::ESPALIER_TARGET {

// Both activations are gate * sigmoid(f(gate)).
struct Silu {
  static __device__ __forceinline__ float sigmoid_of(float g) { return sigmoid(g); }
  // s: sigmoid_of(g).
  static __device__ __forceinline__ float derivative(float g, float s) { return fmaf(g * s, 1.0f - s, s); }
};
struct GeluTanh {
  static constexpr float kRoot = 1.5957691216057308f, kCube = 0.044715f;  // 2 sqrt(2 / pi)
  static __device__ __forceinline__ float sigmoid_of(float g) { return sigmoid(kRoot * fmaf(kCube * g * g, g, g)); }
  static __device__ __forceinline__ float derivative(float g, float s) {
    return fmaf(g * s * (1.0f - s), kRoot * fmaf(3.0f * kCube * g, g, 1.0f), s);
  }
};

template <class F>
void with_activation(Activation activation, F&& f) {
  activation == Activation::kSilu ? f(Silu{}) : f(GeluTanh{});
}

template <class T>
struct SwigluArguments {
  Matrix<T> gate_up, out;
  const float* unit_scale;  // nullptr stands for ones
  int64_t units;
};

template <class T, class A>
__global__ void __launch_bounds__(256) swiglu_kernel(SwigluArguments<T> a) {
  const int64_t n = blockIdx.x;
  const T* gate = a.gate_up.row(n);
  for (int64_t j = threadIdx.x * 4; j < a.units; j += blockDim.x * 4) {
    const Four scale = a.unit_scale ? load4(a.unit_scale + j) : all4(1);
    store4(a.out.row(n) + j,
           each(load4(gate + j) * scale, load4(gate + a.units + j) * scale, [](float g, float u) { return g * A::sigmoid_of(g) * u; }));
  }
}

void CudaBackend::launch(const Swiglu& op) {
  if (op.out.rows == 0) return;
  with_compute_type(op.out.dtype, [&](auto t) {
    using T = decltype(t);
    const SwigluArguments<T> a{matrix<T>(op.gate_up), matrix<T>(op.out), list(op.unit_scale, op.out.cols), op.out.cols};
    with_activation(op.activation, [&](auto activation) {
      launch_kernel("swiglu", swiglu_kernel<T, decltype(activation)>, dim3(static_cast<unsigned>(op.out.rows)),
                    dim3(threads_for_row(op.out.cols)), 0, stream_.handle(), a);
    });
  });
}

template <class T>
struct SwigluBackwardArguments {
  Matrix<T> gate_up, dout, dgate_up, out;
  const float* unit_scale;
  bool scales_gate_up, dot_of_out;
  float* parts;  // [row parts, units]
  int64_t rows, units;
};

template <class T, class A>
__global__ void __launch_bounds__(kColumnThreads) swiglu_backward_kernel(SwigluBackwardArguments<T> a) {
  const int64_t j = (int64_t{blockIdx.x} * kColumnThreads + threadIdx.x) * 4;
  if (j >= a.units) return;
  const Rows part = rows_of_part(a.rows, blockIdx.y, gridDim.y);
  const Four scale = a.unit_scale ? load4(a.unit_scale + j) : all4(1), read_scale = a.scales_gate_up ? scale : all4(1);
  Four dots = all4(0);
  for (int64_t n = part.begin; n < part.end; n++) {
    const Four g = load4(a.gate_up.row(n) + j) * read_scale, u = load4(a.gate_up.row(n) + a.units + j) * read_scale;
    const Four d = load4(a.dout.row(n) + j);
    const Four s = each(g, g, [](float x, float) { return A::sigmoid_of(x); });
    const Four active = g * s;
    const Four dg = d * u * each(g, s, [](float x, float y) { return A::derivative(x, y); });
    const Four du = d * active;
    store4(a.dgate_up.row(n) + j, dg * scale);
    store4(a.dgate_up.row(n) + a.units + j, du * scale);
    store4(a.out.row(n) + j, active * u);
    dots = fma4(du, u, dots);
    if (!a.dot_of_out) dots = fma4(dg, g, dots);
  }
  store4(a.parts + blockIdx.y * a.units + j, dots);
}

void CudaBackend::launch(const SwigluBackward& op) {
  const int64_t rows = op.out.rows, units = op.out.cols, count = row_parts(rows);
  launch(Clear{op.unit_dot, units});
  if (rows == 0) return;
  auto* parts = scratch<float>(kParts, count * units);
  with_compute_type(op.out.dtype, [&](auto t) {
    using T = decltype(t);
    const SwigluBackwardArguments<T> a{matrix<T>(op.gate_up),
                                       matrix<T>(op.dout),
                                       matrix<T>(op.dgate_up),
                                       matrix<T>(op.out),
                                       list(op.unit_scale, units),
                                       op.scales_gate_up,
                                       op.dot_of_out,
                                       parts,
                                       rows,
                                       units};
    with_activation(op.activation, [&](auto activation) {
      launch_kernel("swiglu_backward", swiglu_backward_kernel<T, decltype(activation)>,
                    dim3(column_blocks(units), static_cast<unsigned>(count)), dim3(kColumnThreads), 0, stream_.handle(), a);
    });
  });
  add_parts(parts, count, units, op.unit_dot);
}

}  // namespace espalier::cuda::ESPALIER_TARGET
