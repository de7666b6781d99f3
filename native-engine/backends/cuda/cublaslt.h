// NVIDIA's library for matrix products, cuBLASLt, where a machine has it. It is never linked, but loaded when a card is asked for the first
// time. Without it the backend's own kernel (kernels/products/product_bf16.cu) computes all products.
//
// Bits must not depend on when something is computed. So the algorithm depends only on the shape, the library's version and the card: it is
// the library's first suggestion that sums a value in one piece (no split-K, no reduction between blocks), with a workspace of a fixed size
// that belongs to one stream. Nothing is ever timed.
#pragma once
#include <compare>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "runtime.h"

namespace espalier::cuda::ESPALIER_TARGET {

// The library's functions that the backend uses. Their parameters are the same in all versions from 12 on.
struct CublasltFunctions;

class Cublaslt {
 public:
  // Loads the first library that can be used. The names are tried in order, as dlopen takes them.
  explicit Cublaslt(std::vector<std::string> names) : Cublaslt(std::move(names), "") {}
  // Loads the next library that can be used where `found` can't be started.
  Cublaslt(const Cublaslt& found, const std::string& problem);
  bool usable() const { return functions_ != nullptr; }
  // Returns "cuBLASLt 13.1.0", or why it is not used: "own products: libcublasLt.so.13 is not here".
  const std::string& description() const { return description_; }
  // Returns the version and the rule for choosing algorithms, a part of the numerics fingerprint.
  std::string fingerprint() const;
  const CublasltFunctions& functions() const { return *functions_; }

 private:
  Cublaslt(std::vector<std::string> names, const std::string& problems);
  std::string load(const std::string& name);  // returns what is wrong, or an empty text
  std::shared_ptr<const CublasltFunctions> functions_;
  std::string description_, problems_;  // the problems of the names before the one that was loaded
  std::vector<std::string> later_;      // the names after it
  size_t version_ = 0;
};

// The library that the process uses: the first of product_libraries() that can be used. Tests replace it.
std::shared_ptr<const Cublaslt>& cublaslt();

class LibraryProducts;
// Starts cublaslt() for one stream, or returns nullptr where no library can be used. If a library can't be started the first time, this
// process does not use it from then on: the next one takes its place, and the numerics fingerprint says so. If it was started before, other
// sessions have its bits, so a failure throws Error(kInternal, "device").
std::unique_ptr<LibraryProducts> start_library_products();

// Products of at least these rows and columns go to cuBLASLt where it can compute them, and it makes this many sums in f32 at a time. Tests
// lower the numbers.
struct LibraryLimits {
  int32_t rows, cols;
  int64_t sums = 32 << 20;  // 128 MiB
};
LibraryLimits& library_limits();  // defined in kernels/products/product_library.cu

// A product c (+)= a b of bf16 factors, whose rows begin at multiples of 16 bytes. b is stored as [cols, depth] where `transposed`.
struct LibraryProduct {
  int64_t rows = 0, cols = 0, depth = 0;
  int64_t a_stride = 0, b_stride = 0, c_stride = 0;
  bool transposed = false;
  bool f32 = true;  // c is f32; otherwise it is bf16
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

  bool can(const LibraryProduct& p);  // whether the library has an algorithm for the product that our rule accepts
  // workspace: kWorkspaceBytes bytes. Throws Error(kInternal, "device").
  void multiply(StreamHandle stream, const LibraryProduct& p, const void* a, const void* b, void* c, bool accumulate, void* workspace);

 private:
  struct Plan;
  const Plan* plan_of(const LibraryProduct& p);
  std::unique_ptr<Plan> make_plan(const LibraryProduct& p) const;

  std::shared_ptr<const Cublaslt> library_;
  void* handle_ = nullptr;
  std::map<LibraryProduct, std::unique_ptr<Plan>> plans_;  // a nullptr says that the library has no algorithm
};

}  // namespace espalier::cuda::ESPALIER_TARGET
