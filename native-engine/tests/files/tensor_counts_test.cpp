// The counts of a model's tensors, from which budgets are made, add up to what an export with closed gates holds.
#include "export/export_size.h"
#include "export_student.h"
#include "session/session_core.h"
#include "small_models.h"

namespace espalier::test {
namespace {

struct Open {
  double heads = 0, kv_heads = 0, units = 0, hidden = 0;  // shares of all gates of their kind
};

// Closes some gates of each kind. Every layer keeps a head.
Masks some_closed(const ModelConfig& c, Open& open) {
  Masks masks;
  std::vector<bool> read(static_cast<size_t>(c.layer_count * c.kv_head_count), false);
  for (int64_t i = 0; i < c.layer_count * c.head_count; i++) {
    const int64_t layer = i / c.head_count, head = i % c.head_count;
    const bool is_open = head <= layer;
    masks.head.push_back(is_open ? 1.0f : 0.0f);
    if (is_open) read[static_cast<size_t>(layer * c.kv_head_count + c.layers[layer].kv_head_of_query[head])] = true;
  }
  for (int64_t i = 0; i < c.layer_count * c.intermediate_size; i++) masks.intermediate.push_back(i % 3 == 0 ? 0.0f : 1.0f);
  for (int64_t i = 0; i < c.hidden_size; i++) masks.hidden.push_back(i % 4 == 0 ? 0.0f : 1.0f);
  const auto share = [](const auto& gates) {
    const auto closed = static_cast<double>(std::count(gates.begin(), gates.end(), 0));
    return 1 - closed / static_cast<double>(gates.size());
  };
  open = {share(masks.head), share(read), share(masks.intermediate), share(masks.hidden)};
  return masks;
}

double counted(const std::vector<TensorCount>& tensors, const Open& open) {
  double sum = 0;
  for (const TensorCount& count : tensors) {
    const double part = std::array{1.0, open.heads, open.kv_heads, open.units}[static_cast<size_t>(count.part)];
    sum += static_cast<double>(count.parameters) * part * (count.kind == TensorKind::kVector ? 1.0 : open.hidden);
  }
  return sum;
}

TEST(TensorCounts, AddUpToTheParametersOfAnExportOfEveryKindOfModel) {
  for (const SmallKind& kind : small_kinds()) {
    const auto model = small_model(kind.config);
    const std::vector<TensorCount> tensors = count_tensors(*model);
    EXPECT_EQ(counted(tensors, {1, 1, 1, 1}), static_cast<double>(model->bytes() / 4)) << kind.name;
    for (const TensorCount& count : tensors) EXPECT_EQ(count.bytes, 4 * count.parameters) << kind.name;
    Open open;
    const Masks masks = some_closed(model->config(), open);
    EXPECT_NEAR(counted(tensors, open), static_cast<double>(compacted_size(*model, masks).parameters), 1e-6) << kind.name;
  }
}

}  // namespace
}  // namespace espalier::test
