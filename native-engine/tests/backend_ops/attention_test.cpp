// Attention and its gradients on given operands: lengths of several blocks and tiles of any kernel, windows that begin within them, groups
// of heads in any order.
#include "attention_run.h"

namespace espalier::test {

class AttentionOps : public OpTest {};
INSTANTIATE_TEST_SUITE_P(All, AttentionOps, testing::ValuesIn(op_cases()), case_name);

TEST_P(AttentionOps, OverSeveralBlocksOfQueriesAndKeys) {
  AttentionRun(device, type(), {2, 150, 16, 0, {0, 1}, 2}).check(tolerance());
  AttentionRun(device, type(), {1, 70, 128, 0, {0, 0, 1}, 2}).check(tolerance());
  AttentionRun(device, type(), {1, 129, 96, 0, {0}, 1}).check(tolerance());
  AttentionRun(device, type(), {1, 70, 192, 0, {0}, 1}).check(tolerance());
}
// A head of LLaMA's size in a sequence of many tiles, whole and in a window, with queries and keys that fill no tile at the end.
TEST_P(AttentionOps, LongSequencesOfLargeHeads) {
  AttentionRun(device, type(), {1, 330, 128, 0, {0}, 1}).check(tolerance());
  AttentionRun(device, type(), {1, 330, 128, 100, {0}, 1}).check(tolerance());
}
// The first keys that a query sees have almost no weight. The kernel guesses the mean gradient from these keys, so its guess is far off.
TEST_P(AttentionOps, FirstKeysThatHardlyCount) { AttentionRun(device, type(), {1, 150, 128, 0, {0}, 1, 2.5f}).check(2 * tolerance()); }
TEST_P(AttentionOps, WindowsThatBeginWithinATile) {
  for (const int64_t window : {1, 7, 64, 65, 66, 149, 150, 400})
    AttentionRun(device, type(), {1, 150, 8, window, {0}, 1}).check(tolerance());
}
TEST_P(AttentionOps, HeadsOfAGroupNeedNotLieTogether) {
  AttentionRun(device, type(), {2, 70, 24, 40, {1, 0, 2, 0, 1}, 3}).check(tolerance());
}
// The scores are far beyond what exp2 can hold: only their differences from the highest score of a row may count.
TEST_P(AttentionOps, GreatScores) { AttentionRun(device, type(), {1, 150, 64, 0, {0}, 1, 6.0f}).check(4 * tolerance()); }
// Most scores are near the cap or far beyond it, or far below it: the cap then changes little.
TEST_P(AttentionOps, CappedScores) {
  for (const auto& [cap, greatest] : {std::pair{1.5f, 1.0f}, {5.0f, 1.5f}, {50.0f, 0.8f}}) {
    AttentionRun(device, type(), {2, 70, 24, 40, {1, 0, 1}, 2, greatest, cap}).check(2 * tolerance());
    for (const int64_t dim : {64, 96, 128, 256})
      AttentionRun(device, type(), {1, 70, dim, 0, {0}, 1, greatest, cap}).check(2 * tolerance());
  }
}
TEST_P(AttentionOps, KeysThatNoHeadReadsHaveNoGradient) { AttentionRun(device, type(), {1, 70, 64, 0, {1}, 3}).check(tolerance()); }

}  // namespace espalier::test
