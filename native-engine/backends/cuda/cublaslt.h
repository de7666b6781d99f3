// NVIDIA's library for matrix products, cuBLASLt, where a machine has it: loaded when the first card is asked for, never linked. Without it
// the backend's own kernel (kernels/product_bf16.cu) makes all products.
//
// Bits must not depend on when something is computed. So an algorithm is a function of the shape, the library's version and the card: the
// library's first suggestion that sums a value in one piece (no split-K, no reduction between blocks), with a workspace of a fixed size
// that belongs to one stream. Nothing is ever timed.
#pragma once
#include <compare>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "runtime.h"

namespace espalier::cuda::ESPALIER_TARGET {

// The library's functions, as far as they are used. Their parameters are as in all versions from 12 on.
struct CublasltFunctions;

class Cublaslt {
 public:
  // Tries the names in their order, as dlopen takes them.
  explicit Cublaslt(const std::vector<std::string>& names);
  bool usable() const { return functions_ != nullptr; }
  // "cuBLASLt 13.1.0", or why it is not used: "own products: libcublasLt.so.13 is not here".
  const std::string& description() const { return description_; }
  // For the numerics fingerprint: the version and the rule.
  std::string fingerprint() const;
  const CublasltFunctions& functions() const { return *functions_; }
  // The same library as one that is not used, and why.
  Cublaslt(const Cublaslt& found, const std::string& problem);

 private:
  std::string load(const std::string& name);  // returns what is wrong
  std::shared_ptr<const CublasltFunctions> functions_;
  std::string description_;
  size_t version_ = 0;
};

// The one that the process uses, the first of product_libraries() that can be used. Tests put others there.
std::shared_ptr<const Cublaslt>& cublaslt();

class LibraryProducts;
// Starts cublaslt() for one stream, or returns nullptr where there is none. A library that can't be started the first time is not used by
// this process from there on, and the numerics fingerprint says so. Where it was started before, other sessions have its bits: then this
// throws Error(kInternal, "device").
std::unique_ptr<LibraryProducts> start_library_products();

// From where on products go to cuBLASLt where they may, and how many sums in f32 it makes at a time. Tests make the numbers small.
struct LibraryLimits {
  int32_t rows, cols;
  int64_t sums = 32 << 20;  // 128 MiB
};
LibraryLimits& library_limits();  // kernels/product_library.cu

// A product c (+)= a b of bf16 factors, rows at multiples of 16 bytes; b lies as [cols, depth] where transposed.
struct LibraryProduct {
  int64_t rows = 0, cols = 0, depth = 0;
  int64_t a_stride = 0, b_stride = 0, c_stride = 0;
  bool transposed = false;
  bool f32 = true;  // c; else bf16
  auto operator<=>(const LibraryProduct&) const = default;
};

// The library's state for one stream.
class LibraryProducts {
 public:
  static constexpr uint64_t kWorkspaceBytes = uint64_t{32} << 20;

  explicit LibraryProducts(std::shared_ptr<const Cublaslt> library);
  ~LibraryProducts();
  LibraryProducts(const LibraryProducts&) = delete;
  LibraryProducts& operator=(const LibraryProducts&) = delete;

  bool can(const LibraryProduct& p);  // whether the library has an algorithm for it by our rule
  // workspace: kWorkspaceBytes. Throws Error(kInternal, "device").
  void multiply(StreamHandle stream, const LibraryProduct& p, const void* a, const void* b, void* c, bool accumulate, void* workspace);

 private:
  struct Plan;
  const Plan* plan_of(const LibraryProduct& p);
  std::unique_ptr<Plan> make_plan(const LibraryProduct& p) const;

  std::shared_ptr<const Cublaslt> library_;
  void* handle_ = nullptr;
  std::map<LibraryProduct, std::unique_ptr<Plan>> plans_;  // nullptr: the library has no algorithm
};

}  // namespace espalier::cuda::ESPALIER_TARGET
