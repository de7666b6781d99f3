// Measures op by op where the time of a step goes. A backend passes each op on to the real backend and asks for the moment after the op.
// The backend waits for nothing inside a step, so host and device work side by side as they do without it.
#pragma once
#include <algorithm>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "device/registry.h"
#include "device/watched_backend.h"
#include "hidden_memory/op_memory.h"

namespace espalier::bench {

// The least work that an op asks of its device. A multiply-add counts as two FLOPs, and each matrix is read or written once.
struct OpCost {
  double flops = 0, bytes = 0;
};

struct CountBytes {
  double* bytes;
  void operator()(const Tensor& t) const {
    if (t) *bytes += static_cast<double>(t.rows * t.cols * dtype_bytes(t.dtype));
  }
  template <class T>
  DevicePtr<T> operator()(DevicePtr<T> list, int64_t count) const {
    if (list) *bytes += static_cast<double>(count) * sizeof(T);
    return list;
  }
};

template <class Op>
double bytes_of(Op op) {
  double bytes = 0;
  test::move_memory(op, CountBytes{&bytes});
  return bytes;
}

// Only the open part of a stored matrix is read.
inline OpCost cost_of(const ProductTerm& term) {
  const double values = static_cast<double>(term.b.rows * term.b.cols);
  OpCost cost{2.0 * static_cast<double>(term.a.rows) * values, values * static_cast<double>(dtype_bytes(term.b.stored.dtype))};
  CountBytes{&cost.bytes}(term.a);
  return cost;
}
template <class Terms>
OpCost cost_of_terms(const Terms& terms, int count) {
  OpCost all;
  for (int i = 0; i < count; i++) {
    const OpCost one = cost_of(terms[static_cast<size_t>(i)]);
    all.flops += one.flops;
    all.bytes += one.bytes;
  }
  return all;
}

// The FLOPs of the scores and of their use. Each query reads the keys up to its own position, or those in its window.
inline double attention_flops(const AttentionShape& s) {
  const double keys = s.window > 0 ? static_cast<double>(std::min(s.window, s.tokens)) : static_cast<double>(s.tokens + 1) / 2;
  return 4.0 * static_cast<double>(s.batch * s.tokens * s.heads * s.head_dim) * keys;
}

template <class Op>
OpCost cost_of(const Op& op) {
  return {0, bytes_of(op)};
}
inline OpCost cost_of(const Product& op) {
  OpCost cost = cost_of_terms(op.terms, op.count);
  CountBytes{&cost.bytes}(op.c);
  return cost;
}
inline OpCost cost_of(const AttentionOperands& op) {
  OpCost cost;
  for (const Product& product : op.products) {
    const OpCost one = cost_of_terms(product.terms, product.count);
    cost.flops += one.flops;
    cost.bytes += one.bytes;
  }
  CountBytes{&cost.bytes}(op.operands);
  return cost;
}
inline OpCost cost_of(const Attention& op) { return {attention_flops(op.shape), bytes_of(op)}; }
inline OpCost cost_of(const AttentionBackward& op) { return {2.5 * attention_flops(op.shape), bytes_of(op)}; }
inline OpCost cost_of(const LoraNarrow& op) {
  OpCost cost = cost_of_terms(op.terms, op.count);
  CountBytes{&cost.bytes}(op.out);
  return cost;
}
inline OpCost cost_of(const LoraGradient& op) {
  double columns = static_cast<double>(op.x.cols * op.count);
  for (int i = 0; i < op.count; i++) columns += static_cast<double>(op.outputs[static_cast<size_t>(i)].dy.cols);
  return {2.0 * static_cast<double>(op.x.rows * op.rank) * columns, bytes_of(op)};
}

// The totals of the ops of one name over all steps that were watched.
struct OpTotal {
  std::string name;
  int64_t count = 0;
  double seconds = 0, flops = 0, bytes = 0;
};

// Records the ops of the profiled backends of this process from begin() to end().
class OpProfile {
 public:
  static OpProfile& one() {
    static OpProfile profile;
    return profile;
  }
  void begin() {
    watched_.clear();
    start_ = nullptr;
    on_ = true;
  }
  void before_op(Backend& backend) {
    if (on_ && !start_) start_ = backend.moment();
  }
  template <class Op>
  void after_op(const char* name, const Op& op, Backend& backend) {
    if (on_) watched_.push_back({name, cost_of(op), backend.moment()});
  }
  // Ends the recording and returns the totals, the slowest first. The time of an op runs from the end of the op before it to its own end.
  std::vector<OpTotal> end() {
    on_ = false;
    std::map<std::string, OpTotal> by_name;
    const Moment* before = start_.get();
    for (const Watched& one : watched_) {
      OpTotal& total = by_name[one.name];
      total.name = one.name;
      total.count++;
      total.seconds += one.moment->seconds_since(*before);
      total.flops += one.cost.flops;
      total.bytes += one.cost.bytes;
      before = one.moment.get();
    }
    std::vector<OpTotal> all;
    for (auto& [name, total] : by_name) all.push_back(std::move(total));
    std::sort(all.begin(), all.end(), [](const OpTotal& a, const OpTotal& b) { return a.seconds > b.seconds; });
    return all;
  }

 private:
  struct Watched {
    const char* name;
    OpCost cost;
    std::unique_ptr<Moment> moment;
  };
  bool on_ = false;
  std::unique_ptr<Moment> start_;
  std::vector<Watched> watched_;
};

class ProfiledKind final : public BackendKind {
 public:
  explicit ProfiledKind(const BackendKind& worker) : worker_(worker) {}
  std::string name() const override { return worker_.name(); }
  std::vector<DeviceDescription> devices() const override { return worker_.devices(); }
  std::string fingerprint(const BackendSpec& spec) const override { return worker_.fingerprint(spec); }
  uint64_t scratch_bytes(const BackendSpec& spec, const ModelConfig& config, const ScratchShape& shape) const override {
    return worker_.scratch_bytes(spec, config, shape);
  }
  StepForm step_form() const override { return worker_.step_form(); }
  bool has_own_memory() const override { return worker_.has_own_memory(); }
  std::unique_ptr<Backend> make(const BackendSpec& spec) const override {
    return std::make_unique<WatchedBackend<OpProfile>>(worker_.make(spec), OpProfile::one());
  }

 private:
  const BackendKind& worker_;
};

// Makes every backend of this program a watched one from here on.
inline void profile_backends() {
  static std::vector<std::unique_ptr<ProfiledKind>> profiled;
  std::vector<const BackendKind*> kinds;
  for (const BackendKind* kind : backend_kinds()) {
    profiled.push_back(std::make_unique<ProfiledKind>(*kind));
    kinds.push_back(profiled.back().get());
  }
  set_backend_kinds(std::move(kinds));
}

}  // namespace espalier::bench
