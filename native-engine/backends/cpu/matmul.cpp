#include "matmul.h"

#include <array>
#include <map>
#include <oneapi/dnnl/dnnl.hpp>
#include <unordered_map>

#include "espalier/base/error.h"
#include "host_address.h"

namespace espalier::cpu {

namespace {

// The key of a product: m, n, k, the strides of a, b and c, then the flags and dtypes in one number.
using Key = std::array<int64_t, 7>;

struct Product {
  dnnl::matmul primitive;
  dnnl::memory a, b, c;
  std::unordered_map<int, dnnl::memory> arguments;
};

dnnl::memory::data_type dnnl_type(DType t) { return t == DType::kF32 ? dnnl::memory::data_type::f32 : dnnl::memory::data_type::bf16; }

}  // namespace

struct MatmulCache::Impl {
  dnnl::engine engine{dnnl::engine::kind::cpu, 0};
  dnnl::stream stream{engine};
  std::map<Key, Product> products;

  Product make(const Tensor& c, const Tensor& a, const Tensor& b, bool b_transposed, bool accumulate) {
    using dnnl::memory;
    const int64_t m = a.rows, k = a.cols, n = c.cols;
    const memory::desc da({m, k}, dnnl_type(a.dtype), memory::dims{a.stride, 1});
    const memory::desc db({k, n}, dnnl_type(b.dtype), b_transposed ? memory::dims{1, b.stride} : memory::dims{b.stride, 1});
    const memory::desc dc({m, n}, dnnl_type(c.dtype), memory::dims{c.stride, 1});
    dnnl::primitive_attr attributes;
    if (accumulate) {
      dnnl::post_ops sum;
      sum.append_sum(1.0f);
      attributes.set_post_ops(sum);
    }
    Product p;
    p.primitive = dnnl::matmul({engine, da, db, dc, attributes});
    p.a = memory(da, engine, nullptr);
    p.b = memory(db, engine, nullptr);
    p.c = memory(dc, engine, nullptr);
    p.arguments = {{DNNL_ARG_SRC, p.a}, {DNNL_ARG_WEIGHTS, p.b}, {DNNL_ARG_DST, p.c}};
    return p;
  }
};

MatmulCache::MatmulCache() : impl_(std::make_unique<Impl>()) {}
MatmulCache::~MatmulCache() = default;

void MatmulCache::run(Tensor c, Tensor a, Tensor b, bool b_transposed, bool accumulate) {
  if (c.rows == 0 || c.cols == 0) return;
  const int64_t flags = (b_transposed ? 1 : 0) | (accumulate ? 2 : 0) | static_cast<int64_t>(a.dtype) << 2 |
                        static_cast<int64_t>(b.dtype) << 4 | static_cast<int64_t>(c.dtype) << 6;
  const Key key{a.rows, c.cols, a.cols, a.stride, b.stride, c.stride, flags};
  try {
    auto found = impl_->products.find(key);
    if (found == impl_->products.end()) found = impl_->products.emplace(key, impl_->make(c, a, b, b_transposed, accumulate)).first;
    Product& p = found->second;
    p.a.set_data_handle(host(a.data));
    p.b.set_data_handle(host(b.data));
    p.c.set_data_handle(host(c.data));
    p.primitive.execute(impl_->stream, p.arguments);
  } catch (const dnnl::error& e) {
    const auto code = e.status == dnnl_out_of_memory ? ErrorCode::kOutOfMemory : ErrorCode::kInternal;
    throw Error(code, "matmul", std::string("matrix product failed: ") + e.what());
  }
}

std::string MatmulCache::version() {
  const dnnl_version_t* v = dnnl_version();
  return std::to_string(v->major) + "." + std::to_string(v->minor) + "." + std::to_string(v->patch) + " isa " +
         std::to_string(static_cast<int>(dnnl::get_effective_cpu_isa()));
}

}  // namespace espalier::cpu
