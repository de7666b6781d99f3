// A libcublasLt for tests. It has the functions that the backend uses and computes in host memory when the emulator's stream reaches them.
// It refuses what the real library would refuse: layouts that it was not asked about, another workspace, unknown algorithms. Its first
// suggestions are such that our rule must skip them.
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <initializer_list>

namespace {

struct Description {
  int compute, scale, transpose_a = 0, transpose_b = 0;
};
struct Layout {
  int type;
  uint64_t rows, cols;
  int64_t stride;
};
struct Preference {
  uint64_t workspace = 0;
  uint32_t reductions = 0xffffffffu;
};
struct Algorithm {
  uint64_t id, splits, reduction, shape, opaque[4];
};
struct Suggestion {
  Algorithm algorithm;
  size_t workspace;
  int status;
  float waves;
  int reserved[4];
};
static_assert(sizeof(Suggestion) == 96);

constexpr int kF32 = 0, kBf16 = 14, kInvalid = 7;

using Enqueue = void (*)(void* stream, void (*run)(void*), void* argument);
Enqueue enqueue = nullptr;
int64_t products = 0, questions = 0, refusals = 0;

uint64_t digest_of(const Description& d, const Layout& a, const Layout& b, const Layout& c) {
  uint64_t h = static_cast<uint64_t>(d.transpose_a + 2 * d.transpose_b) + 1;
  for (const Layout* l : {&a, &b, &c})
    for (const uint64_t v : {static_cast<uint64_t>(l->type), l->rows, l->cols, static_cast<uint64_t>(l->stride)})
      h = h * 1099511628211ull + v;
  return h;
}

struct Call {
  Description d;
  Layout a_layout, b_layout, c_layout;
  const void *a, *b;
  void *c, *workspace;
  float alpha, beta;
  uint64_t workspace_bytes;
};

float value(const void* data, const Layout& l, uint64_t row, uint64_t col) {
  const uint64_t i = row + col * static_cast<uint64_t>(l.stride);
  if (l.type == kF32) return static_cast<const float*>(data)[i];
  const uint32_t bits = static_cast<uint32_t>(static_cast<const uint16_t*>(data)[i]) << 16;
  float v;
  std::memcpy(&v, &bits, 4);
  return v;
}

void put(void* data, const Layout& l, uint64_t row, uint64_t col, float v) {
  const uint64_t i = row + col * static_cast<uint64_t>(l.stride);
  if (l.type == kF32) {
    static_cast<float*>(data)[i] = v;
    return;
  }
  uint32_t bits;
  std::memcpy(&bits, &v, 4);
  static_cast<uint16_t*>(data)[i] = static_cast<uint16_t>((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

void run(void* argument) {
  auto* call = static_cast<Call*>(argument);
  const uint64_t depth = call->d.transpose_a ? call->a_layout.rows : call->a_layout.cols;
  for (uint64_t j = 0; j < call->c_layout.cols; j++)
    for (uint64_t i = 0; i < call->c_layout.rows; i++) {
      float sum = 0;
      for (uint64_t k = 0; k < depth; k++)
        sum = std::fma(value(call->a, call->a_layout, call->d.transpose_a ? k : i, call->d.transpose_a ? i : k),
                       value(call->b, call->b_layout, call->d.transpose_b ? j : k, call->d.transpose_b ? k : j), sum);
      sum *= call->alpha;
      if (call->beta != 0) sum += call->beta * value(call->c, call->c_layout, i, j);
      put(call->c, call->c_layout, i, j, sum);
    }
  std::memset(call->workspace, 0xab, 64);  // the workspace belongs to the library until the next product
  std::memset(static_cast<char*>(call->workspace) + call->workspace_bytes - 64, 0xab, 64);
  delete call;
}

}  // namespace

extern "C" {

void stand_in_run_by(Enqueue by) { enqueue = by; }
int64_t stand_in_products() { return products; }
int64_t stand_in_questions() { return questions; }  // how often it was asked for algorithms

void stand_in_refuse(int64_t times) { refusals = times; }  // from now on it fails to start this many times

size_t cublasLtGetVersion() {
  const char* version = std::getenv("STAND_IN_CUBLASLT_VERSION");
  return version ? static_cast<size_t>(std::atol(version)) : 130102;
}
int cublasLtCreate(void** handle) {
  if (refusals > 0) return refusals--, 1;  // the status "not initialized"
  *handle = &products;
  return 0;
}
int cublasLtDestroy(void* handle) { return handle == &products ? 0 : kInvalid; }

int cublasLtMatmulDescCreate(Description** d, int compute, int scale) {
  if (compute != 68 || scale != kF32) return kInvalid;  // only sums in f32 are supported
  *d = new Description{compute, scale};
  return 0;
}
int cublasLtMatmulDescDestroy(Description* d) {
  delete d;
  return 0;
}
int cublasLtMatmulDescSetAttribute(Description* d, int attribute, const void* from, size_t bytes) {
  if (bytes != 4 || (attribute != 3 && attribute != 4)) return kInvalid;
  std::memcpy(attribute == 3 ? &d->transpose_a : &d->transpose_b, from, 4);
  return 0;
}
int cublasLtMatrixLayoutCreate(Layout** l, int type, uint64_t rows, uint64_t cols, int64_t stride) {
  if ((type != kF32 && type != kBf16) || static_cast<uint64_t>(stride) < rows) return kInvalid;
  *l = new Layout{type, rows, cols, stride};
  return 0;
}
int cublasLtMatrixLayoutDestroy(Layout* l) {
  delete l;
  return 0;
}
int cublasLtMatmulPreferenceCreate(Preference** p) {
  *p = new Preference;
  return 0;
}
int cublasLtMatmulPreferenceDestroy(Preference* p) {
  delete p;
  return 0;
}
int cublasLtMatmulPreferenceSetAttribute(Preference* p, int attribute, const void* from, size_t bytes) {
  if (attribute == 1 && bytes == 8) std::memcpy(&p->workspace, from, 8);
  if (attribute == 3 && bytes == 4) std::memcpy(&p->reductions, from, 4);
  uint32_t alignment = 16;
  if (attribute >= 5 && attribute <= 8) std::memcpy(&alignment, from, 4);
  return alignment == 16 ? 0 : kInvalid;
}

// The first suggestions break the rule: split sums, sums that are reduced between blocks, too large a workspace, a failed suggestion.
int cublasLtMatmulAlgoGetHeuristic(void*, const Description* d, const Layout* a, const Layout* b, const Layout* c, const Layout* out,
                                   const Preference* p, int most, Suggestion* to, int* count) {
  const bool fits = (d->transpose_a ? a->cols : a->rows) == c->rows && (d->transpose_b ? b->rows : b->cols) == c->cols &&
                    (d->transpose_a ? a->rows : a->cols) == (d->transpose_b ? b->cols : b->rows) && a->type == kBf16 && b->type == kBf16;
  if (!fits || out != c || most < 6 || p->reductions != 0) return kInvalid;
  questions++;
  const uint64_t shape = digest_of(*d, *a, *b, *c);
  *count = 0;
  const auto add = [&](uint64_t id, uint64_t splits, uint64_t reduction, size_t workspace, int status) {
    to[(*count)++] = {{id, splits, reduction, shape, {}}, workspace, status, 1.0f, {}};
  };
  add(1, 4, 0, 0, 0);
  add(2, 1, 2, 0, 0);
  add(3, 1, 0, p->workspace + 1, 0);
  add(4, 1, 0, 0, 15);
  if (c->cols == 333) return 0;  // there is no algorithm for products with this number of rows
  add(5, 1, 0, p->workspace, 0);
  add(6, 1, 0, 0, 0);
  return 0;
}
int cublasLtMatmulAlgoConfigGetAttribute(const Algorithm* a, int attribute, void* to, size_t bytes, size_t* written) {
  if (bytes != 4 || attribute < 2 || attribute > 3) return kInvalid;
  const auto v = static_cast<uint32_t>(attribute == 2 ? a->splits : a->reduction);
  std::memcpy(to, &v, 4);
  *written = 4;
  return 0;
}
int cublasLtMatmul(void*, const Description* d, const float* alpha, const void* a, const Layout* a_layout, const void* b,
                   const Layout* b_layout, const float* beta, const void* c, const Layout* c_layout, void* out, const Layout* out_layout,
                   const Algorithm* algorithm, void* workspace, size_t workspace_bytes, void* stream) {
  const auto misplaced = [](const void* p) { return reinterpret_cast<uintptr_t>(p) % 16 != 0; };
  if (out != c || out_layout != c_layout || misplaced(a) || misplaced(b) || misplaced(c) || !workspace) return kInvalid;
  if (algorithm->id != 5 || algorithm->shape != digest_of(*d, *a_layout, *b_layout, *c_layout)) return kInvalid;
  if (workspace_bytes != uint64_t{32} << 20 || reinterpret_cast<uintptr_t>(workspace) % 256 != 0) return kInvalid;
  products++;
  enqueue(stream, run, new Call{*d, *a_layout, *b_layout, *c_layout, a, b, out, workspace, *alpha, *beta, workspace_bytes});
  return 0;
}
}
