#include "cublaslt.h"

#include <dlfcn.h>

#include <mutex>

#include "espalier/base/error.h"
#include "launch_log.h"

namespace espalier::cuda::ESPALIER_TARGET {

namespace {

// Numbers of the library's interface. They are the same in all versions from 12 on.
enum : int { kSuccess = 0, kTranspose = 1, kF32 = 0, kBf16 = 14, kCompute32F = 68 };
enum : int { kTransA = 3, kTransB = 4 };                                        // attributes of a product's description
enum : int { kMostWorkspace = 1, kReductionMask = 3, kLeastAlignmentOfA = 5 };  // attributes of a preference; b, c and d follow a
enum : int { kAlgorithmId = 0, kTile = 1, kSplits = 2, kReduction = 3 };        // attributes of an algorithm
constexpr size_t kLeastVersion = 120000;
constexpr int kSuggestions = 16;
constexpr size_t kMostPlans = 4096;
constexpr uint32_t kAlignment = 16;

struct Algorithm {
  uint64_t opaque[8];
};
struct Suggestion {
  Algorithm algorithm;
  size_t workspace;
  int status;
  float waves;
  int reserved[4];
};
static_assert(sizeof(Suggestion) == 96);

using Handle = void*;
using Description = struct DescriptionOf*;
using Layout = struct LayoutOf*;
using Preference = struct PreferenceOf*;

}  // namespace

struct CublasltFunctions {
  size_t (*version)();
  int (*create)(Handle*);
  int (*destroy)(Handle);
  int (*create_description)(Description*, int compute, int scale);
  int (*destroy_description)(Description);
  int (*set_description)(Description, int attribute, const void* value, size_t bytes);
  int (*create_layout)(Layout*, int type, uint64_t rows, uint64_t cols, int64_t stride);
  int (*destroy_layout)(Layout);
  int (*create_preference)(Preference*);
  int (*destroy_preference)(Preference);
  int (*set_preference)(Preference, int attribute, const void* value, size_t bytes);
  int (*suggest)(Handle, Description, Layout a, Layout b, Layout c, Layout d, Preference, int most, Suggestion*, int* count);
  int (*algorithm_attribute)(const Algorithm*, int attribute, void* value, size_t bytes, size_t* written);
  int (*multiply)(Handle, Description, const void* alpha, const void* a, Layout, const void* b, Layout, const void* beta, const void* c,
                  Layout, void* d, Layout, const Algorithm*, void* workspace, size_t workspace_bytes, void* stream);
};

namespace {

template <class F>
bool find(void* library, const char* name, F& function) {
  function = reinterpret_cast<F>(dlsym(library, name));
  return function != nullptr;
}

// Looks all functions up. Returns the name of the first one that is missing, or nullptr.
const char* find_all(void* library, CublasltFunctions& f) {
  const char* missing = nullptr;
  const auto want = [&](const char* name, auto& function) {
    if (!find(library, name, function) && !missing) missing = name;
  };
  want("cublasLtGetVersion", f.version);
  want("cublasLtCreate", f.create);
  want("cublasLtDestroy", f.destroy);
  want("cublasLtMatmulDescCreate", f.create_description);
  want("cublasLtMatmulDescDestroy", f.destroy_description);
  want("cublasLtMatmulDescSetAttribute", f.set_description);
  want("cublasLtMatrixLayoutCreate", f.create_layout);
  want("cublasLtMatrixLayoutDestroy", f.destroy_layout);
  want("cublasLtMatmulPreferenceCreate", f.create_preference);
  want("cublasLtMatmulPreferenceDestroy", f.destroy_preference);
  want("cublasLtMatmulPreferenceSetAttribute", f.set_preference);
  want("cublasLtMatmulAlgoGetHeuristic", f.suggest);
  want("cublasLtMatmulAlgoConfigGetAttribute", f.algorithm_attribute);
  want("cublasLtMatmul", f.multiply);
  return missing;
}

std::string version_text(size_t version) {
  return std::to_string(version / 10000) + "." + std::to_string(version / 100 % 100) + "." + std::to_string(version % 100);
}

void must(int status, const char* what) {
  if (status == kSuccess) return;
  throw Error(ErrorCode::kInternal, "device", std::string("cuBLASLt: ") + what + ": status " + std::to_string(status));
}

}  // namespace

static std::string joined(const std::string& problems, const std::string& next) { return problems + (problems.empty() ? "" : ", ") + next; }

Cublaslt::Cublaslt(std::vector<std::string> names, const std::string& problems) : problems_(problems), later_(std::move(names)) {
  while (!later_.empty()) {
    const std::string name = later_.front();
    later_.erase(later_.begin());
    const std::string problem = load(name);
    if (usable()) return;
    problems_ = joined(problems_, problem);
  }
  description_ = "own products" + (problems_.empty() ? "" : ": " + problems_);
}

std::string Cublaslt::load(const std::string& name) {
  void* library = dlopen(name.c_str(), RTLD_NOW | RTLD_LOCAL);  // never unloaded: CUDA's libraries are not made for that
  if (!library) return name + " is not here";
  auto functions = std::make_shared<CublasltFunctions>();
  if (const char* missing = find_all(library, *functions)) return name + " has no " + missing;
  version_ = functions->version();
  if (version_ < kLeastVersion) return name + " is version " + version_text(version_) + ", 12.0.0 is the least that is used";
  description_ = "cuBLASLt " + version_text(version_);
  functions_ = std::move(functions);
  return "";
}

Cublaslt::Cublaslt(const Cublaslt& found, const std::string& problem)
    : Cublaslt(found.later_, joined(found.problems_, found.description_ + " can't be used: " + problem)) {}

std::string Cublaslt::fingerprint() const {
  if (!usable()) return "own products";
  return description_ + ", its first algorithm without split sums, workspace " + std::to_string(LibraryProducts::kWorkspaceBytes);
}

std::shared_ptr<const Cublaslt>& cublaslt() {
  static auto library = std::make_shared<const Cublaslt>(product_libraries());
  return library;
}

// The library stores matrices column by column. So it computes c^T = b^T a^T: its first factor is b, its second factor is a.
struct LibraryProducts::Plan {
  const CublasltFunctions& f;
  Description description = nullptr;
  Layout b = nullptr, a = nullptr, c = nullptr;
  Algorithm algorithm{};

  explicit Plan(const CublasltFunctions& functions) : f(functions) {}
  ~Plan() {
    if (description) f.destroy_description(description);
    for (const Layout layout : {b, a, c})
      if (layout) f.destroy_layout(layout);
  }
  Plan(const Plan&) = delete;
  Plan& operator=(const Plan&) = delete;
};

LibraryProducts::LibraryProducts(std::shared_ptr<const Cublaslt> library) : library_(std::move(library)) {
  must(library_->functions().create(&handle_), "cublasLtCreate");
}

std::unique_ptr<LibraryProducts> start_library_products() {
  static std::mutex starting;
  static std::weak_ptr<const Cublaslt> started;
  const std::lock_guard lock(starting);
  while (cublaslt()->usable()) {
    const std::shared_ptr<const Cublaslt> library = cublaslt();
    try {
      auto products = std::make_unique<LibraryProducts>(library);
      started = library;
      return products;
    } catch (const Error& e) {
      if (started.lock() == library) throw;
      cublaslt() = std::make_shared<const Cublaslt>(*library, e.what());
    }
  }
  return nullptr;
}

LibraryProducts::~LibraryProducts() {
  plans_.clear();
  if (handle_) library_->functions().destroy(handle_);
}

namespace {

uint32_t attribute_of(const CublasltFunctions& f, const Algorithm& algorithm, int attribute) {
  uint32_t value = 0;
  size_t written = 0;
  must(f.algorithm_attribute(&algorithm, attribute, &value, sizeof(value), &written), "an algorithm does not tell its configuration");
  return value;
}

// Returns true where no race decides the order of a sum, and the workspace's size is enough.
bool sums_in_one_piece(const CublasltFunctions& f, const Suggestion& s) {
  return s.status == kSuccess && s.workspace <= LibraryProducts::kWorkspaceBytes && attribute_of(f, s.algorithm, kSplits) <= 1 &&
         attribute_of(f, s.algorithm, kReduction) == 0;
}

class OwnedPreference {
 public:
  explicit OwnedPreference(const CublasltFunctions& f) : f_(f) {
    must(f.create_preference(&preference_), "no preference");
    const uint64_t workspace = LibraryProducts::kWorkspaceBytes;
    const uint32_t no_reduction = 0;
    must(f.set_preference(preference_, kMostWorkspace, &workspace, sizeof(workspace)), "the workspace's size is refused");
    must(f.set_preference(preference_, kReductionMask, &no_reduction, sizeof(no_reduction)), "sums in one piece are refused");
    for (int i = 0; i < 4; i++)
      must(f.set_preference(preference_, kLeastAlignmentOfA + i, &kAlignment, sizeof(kAlignment)), "the alignment is refused");
  }
  ~OwnedPreference() { f_.destroy_preference(preference_); }
  OwnedPreference(const OwnedPreference&) = delete;
  OwnedPreference& operator=(const OwnedPreference&) = delete;
  Preference get() const { return preference_; }

 private:
  const CublasltFunctions& f_;
  Preference preference_ = nullptr;
};

}  // namespace

std::unique_ptr<LibraryProducts::Plan> LibraryProducts::make_plan(const LibraryProduct& p) const {
  const CublasltFunctions& f = library_->functions();
  auto plan = std::make_unique<Plan>(f);
  must(f.create_description(&plan->description, kCompute32F, kF32), "no description");
  if (p.transposed) {
    const int transpose = kTranspose;
    must(f.set_description(plan->description, kTransA, &transpose, sizeof(transpose)), "a transposed factor is refused");
  }
  const auto cols = static_cast<uint64_t>(p.cols), rows = static_cast<uint64_t>(p.rows), depth = static_cast<uint64_t>(p.depth);
  must(f.create_layout(&plan->b, kBf16, p.transposed ? depth : cols, p.transposed ? cols : depth, p.b_stride), "no layout");
  must(f.create_layout(&plan->a, kBf16, depth, rows, p.a_stride), "no layout");
  must(f.create_layout(&plan->c, p.f32 ? kF32 : kBf16, cols, rows, p.c_stride), "no layout");
  const OwnedPreference preference(f);
  Suggestion suggestions[kSuggestions];
  int count = 0;
  // The library reports that it has no algorithm by a status of its own or by a count of 0.
  if (f.suggest(handle_, plan->description, plan->b, plan->a, plan->c, plan->c, preference.get(), kSuggestions, suggestions, &count) !=
      kSuccess)
    return nullptr;
  for (int i = 0; i < count; i++) {
    if (!sums_in_one_piece(f, suggestions[i])) continue;
    plan->algorithm = suggestions[i].algorithm;
    return plan;
  }
  return nullptr;
}

const LibraryProducts::Plan* LibraryProducts::plan_of(const LibraryProduct& p) {
  auto known = plans_.find(p);
  if (plans_.size() >= kMostPlans && known == plans_.end()) plans_.clear();  // masks close, so old shapes never come back
  if (known == plans_.end()) known = plans_.emplace(p, make_plan(p)).first;
  return known->second.get();
}

bool LibraryProducts::can(const LibraryProduct& p) { return plan_of(p) != nullptr; }

void LibraryProducts::multiply(StreamHandle stream, const LibraryProduct& p, const void* a, const void* b, void* c, bool accumulate,
                               void* workspace) {
  const Plan* plan = plan_of(p);
  if (!plan) throw Error(ErrorCode::kInternal, "device", "cuBLASLt has no algorithm for a product");
  const float alpha = 1, beta = accumulate ? 1 : 0;
  note_launch("cuBLASLt");
  must(library_->functions().multiply(handle_, plan->description, &alpha, b, plan->b, a, plan->a, &beta, c, plan->c, c, plan->c,
                                      &plan->algorithm, workspace, kWorkspaceBytes, stream),
       "a product failed");
}

}  // namespace espalier::cuda::ESPALIER_TARGET
