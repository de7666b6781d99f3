// Attention of new tokens over given caches, against plain double loops: sequences of different lengths side by side, windows, caches that
// wrap around to their first row, groups of heads in any order.
#include "op_fixture.h"

namespace espalier::test {

class CachedAttentionOps : public OpTest {};
INSTANTIATE_TEST_SUITE_P(All, CachedAttentionOps, testing::ValuesIn(op_cases()), case_name);

struct CacheSize {
  std::vector<int32_t> positions;  // the position of each sequence's new token
  int64_t dim, window, capacity;
  std::vector<int32_t> kv_of_head;
  int64_t kv_heads;
  float greatest = 0.8f;  // the greatest magnitude of tokens and caches
  float cap = 0;          // of the scores
};

class CachedRun {
 public:
  CachedRun(Device& device, DType type, const CacheSize& z)
      : z_(z),
        heads_(static_cast<int64_t>(z.kv_of_head.size())),
        rows_(static_cast<int64_t>(z.positions.size())),
        query_width_(padded_width(heads_ * z.dim)),
        kv_width_(padded_width(z.kv_heads * z.dim)),
        operands(device, type, rows_, query_width_ + 2 * kv_width_, query_width_ + 2 * kv_width_, Random(50, z.greatest)),
        before(device, type, rows_ * z.kv_heads * 2 * z.capacity, z.dim, z.dim, Random(51, z.greatest)),
        cache(before),
        out(device, type, rows_, query_width_),
        angles(device, std::vector<float>(static_cast<size_t>(rows_ * z.dim / 2), 1.0f)),
        scale(device, head_scales()),
        kv_list(device, z.kv_of_head),
        sequences(device, backwards()),
        positions(device, z.positions) {
    AttentionShape shape{1,         rows_,    heads_,         z.kv_heads,    z.dim,         query_width_,
                         kv_width_, z.window, kv_list.data(), angles.data(), angles.data(), nullptr};
    shape.score_cap = z.cap;
    device.run(CachedAttention{shape, operands.tensor(), cache.tensor(), sequences.data(), positions.data(), z.capacity, out.tensor(),
                               scale.data()});
  }

  void check(double tolerance) const {
    ErrorSum error;
    for (int64_t n = 0; n < rows_; n++) {
      check_cache(n);
      for (int64_t h = 0; h < heads_; h++) check_query(n, h, error);
      for (int64_t j = heads_ * z_.dim; j < query_width_; j++) ASSERT_EQ(out.get(n, j), 0.0);
    }
    EXPECT_LT(error.relative(), tolerance);
    out.expect_untouched_outside();
    cache.expect_untouched_outside();
  }
  std::vector<char> result() const { return out.bytes(); }
  std::vector<double> row(int64_t n) const {
    std::vector<double> values;
    for (int64_t j = 0; j < query_width_; j++) values.push_back(out.get(n, j));
    return values;
  }

 private:
  std::vector<float> head_scales() const {
    std::vector<float> of(static_cast<size_t>(query_width_), 1.0f);
    for (int64_t j = 0; j < heads_ * z_.dim; j++) of[j] = 0.5f + 0.25f * static_cast<float>(j / z_.dim);
    return of;
  }
  std::vector<int32_t> backwards() const {
    std::vector<int32_t> list;
    for (int64_t n = rows_; n > 0; n--) list.push_back(static_cast<int32_t>(n - 1));
    return list;
  }
  // Returns a row of the cache; part 0 is the key, part 1 the value.
  int64_t row_of(int64_t n, int64_t kv, int64_t part, int64_t position) const {
    return (((rows_ - 1 - n) * z_.kv_heads + kv) * 2 + part) * z_.capacity + position % z_.capacity;
  }

  // Checks that the new token has its place in the cache, and that everything else is unchanged.
  void check_cache(int64_t n) const {
    for (int64_t place = 0; place < z_.capacity; place++)
      for (int64_t kv = 0; kv < z_.kv_heads; kv++)
        for (int64_t part = 0; part < 2; part++)
          for (int64_t c = 0; c < z_.dim; c++) {
            const int64_t row = row_of(n, kv, part, place), column = query_width_ + part * kv_width_ + kv * z_.dim + c;
            const bool own = place == z_.positions[n] % z_.capacity;
            ASSERT_EQ(cache.get(row, c), own ? operands.get(n, column) : before.get(row, c));
          }
  }
  void check_query(int64_t n, int64_t h, ErrorSum& error) const {
    const int64_t p = z_.positions[n], seen = std::min({p + 1, z_.capacity, z_.window > 0 ? z_.window : p + 1});
    std::vector<double> sums(static_cast<size_t>(z_.dim), 0.0);
    double mass = 0;
    for (int64_t j = p + 1 - seen; j <= p; j++) {
      const int64_t key = row_of(n, z_.kv_of_head[h], 0, j), value = row_of(n, z_.kv_of_head[h], 1, j);
      double score = 0;
      for (int64_t c = 0; c < z_.dim; c++) score += operands.get(n, h * z_.dim + c) * cache.get(key, c);
      score = capped(score, z_.cap / std::log(2.0));
      mass += std::exp2(score);
      for (int64_t c = 0; c < z_.dim; c++) sums[c] += std::exp2(score) * cache.get(value, c);
    }
    for (int64_t c = 0; c < z_.dim; c++) error.add(out.get(n, h * z_.dim + c), sums[c] / mass * (0.5 + 0.25 * static_cast<double>(h)));
  }

  CacheSize z_;
  int64_t heads_, rows_, query_width_, kv_width_;
  Buffer operands, before, cache, out;
  List<float> angles, scale;
  List<int32_t> kv_list, sequences, positions;
};

TEST_P(CachedAttentionOps, SequencesOfOtherLengthsSideBySide) {
  CachedRun(device, type(), {{0, 69, 17, 5, 40}, 64, 0, 70, {0, 1}, 2}).check(tolerance());
  CachedRun(device, type(), {{33}, 136, 0, 40, {0}, 1}).check(tolerance());
}
TEST_P(CachedAttentionOps, WindowsWhoseCacheBeginsAgain) {
  for (const int64_t window : {1, 3, 8, 9}) CachedRun(device, type(), {{2, 7, 8, 100, 103}, 16, window, 8, {0}, 1}).check(tolerance());
}
TEST_P(CachedAttentionOps, HeadsOfAGroupNeedNotLieTogether) {
  CachedRun(device, type(), {{30, 9}, 24, 20, 31, {1, 0, 2, 0, 1}, 3}).check(tolerance());
}
TEST_P(CachedAttentionOps, GreatScores) { CachedRun(device, type(), {{0, 69, 17, 40}, 64, 0, 70, {0}, 1, 6.0f}).check(4 * tolerance()); }
TEST_P(CachedAttentionOps, CappedScores) {
  for (const float cap : {1.5f, 50.0f}) CachedRun(device, type(), {{0, 69, 17, 40}, 64, 0, 70, {0}, 1, 1.5f, cap}).check(2 * tolerance());
}
TEST_P(CachedAttentionOps, HeadsThatFillNoVector) { CachedRun(device, type(), {{11, 0, 4}, 6, 0, 12, {0, 0, 1}, 2}).check(tolerance()); }

}  // namespace espalier::test
