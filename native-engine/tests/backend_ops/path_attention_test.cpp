// Attention of sequences that continue the rows of other sequences, against plain double loops over the same rounded values.
#include "op_fixture.h"

namespace espalier::test {

// The rows before a sequence (its path, oldest row first), and its own rows.
struct Piece {
  std::vector<int32_t> path;
  int32_t first, rows;
};

struct PathCase {
  int64_t dim, window;
  std::vector<int32_t> kv_of_head;
  int64_t kv_heads;
  std::vector<Piece> pieces;
  float cap = 0;  // of the scores
};

class PathAttentionOps : public OpTest {
 protected:
  void check(const PathCase& z) {
    const auto heads = static_cast<int64_t>(z.kv_of_head.size());
    const int64_t query_width = padded_width(heads * z.dim), kv_width = padded_width(z.kv_heads * z.dim),
                  width = query_width + 2 * kv_width;
    std::vector<int32_t> bounds, path;
    int64_t rows = 0, longest = 0;
    for (const Piece& p : z.pieces) {
      for (const size_t bound : {static_cast<size_t>(p.first), static_cast<size_t>(p.rows), path.size(), p.path.size()})
        bounds.push_back(static_cast<int32_t>(bound));
      path.insert(path.end(), p.path.begin(), p.path.end());
      rows += p.rows;
      longest = std::max(longest, static_cast<int64_t>(p.path.size()) + p.rows);
    }
    const Buffer operands(device, type(), rows, width, width, Random(50, 0.8f));
    Buffer out(device, type(), rows, query_width);
    std::vector<float> scales(query_width, 1.0f);
    for (int64_t j = 0; j < heads * z.dim; j++) scales[j] = 0.5f + 0.25f * static_cast<float>(j / z.dim);
    const List<float> scale(device, scales), turns(device, rows * z.dim / 2, 1.0f);
    const List<int32_t> kv_list(device, z.kv_of_head), bound_list(device, bounds), path_list(device, path);
    AttentionShape shape{1,        rows,     heads,          z.kv_heads,   z.dim,        query_width,
                         kv_width, z.window, kv_list.data(), turns.data(), turns.data(), nullptr};
    shape.score_cap = z.cap;
    device.run(PathAttention{shape, operands.tensor(), out.tensor(), scale.data(), static_cast<int64_t>(z.pieces.size()), longest,
                             bound_list.data(), path_list.data(), static_cast<int64_t>(path.size())});
    ErrorSum error;
    for (const Piece& p : z.pieces)
      for (int32_t i = 0; i < p.rows; i++) {
        std::vector<int32_t> seen = p.path;
        for (int32_t t = 0; t <= i; t++) seen.push_back(p.first + t);
        if (z.window > 0 && static_cast<int64_t>(seen.size()) > z.window) seen.erase(seen.begin(), seen.end() - z.window);
        for (int64_t h = 0; h < heads; h++) check_query(z, operands, out, p.first + i, h, seen, error);
        for (int64_t j = heads * z.dim; j < query_width; j++) ASSERT_EQ(out.get(p.first + i, j), 0.0);
      }
    EXPECT_LT(error.relative(), tolerance());
    out.expect_untouched_outside();
  }

 private:
  static void check_query(const PathCase& z, const Buffer& operands, const Buffer& out, int64_t row, int64_t h,
                          const std::vector<int32_t>& seen, ErrorSum& error) {
    const int64_t query_width = padded_width(static_cast<int64_t>(z.kv_of_head.size()) * z.dim);
    const int64_t k = query_width + z.kv_of_head[h] * z.dim, v = k + padded_width(z.kv_heads * z.dim);
    std::vector<double> sums(z.dim, 0.0);
    double mass = 0;
    for (const int32_t key : seen) {
      double s = 0;
      for (int64_t c = 0; c < z.dim; c++) s += operands.get(row, h * z.dim + c) * operands.get(key, k + c);
      const double weight = std::exp2(capped(s, z.cap / std::log(2.0)));
      mass += weight;
      for (int64_t c = 0; c < z.dim; c++) sums[c] += weight * operands.get(key, v + c);
    }
    for (int64_t c = 0; c < z.dim; c++) error.add(out.get(row, h * z.dim + c), sums[c] / mass * (0.5 + 0.25 * static_cast<double>(h)));
  }
};
INSTANTIATE_TEST_SUITE_P(All, PathAttentionOps, testing::ValuesIn(op_cases()), case_name);

std::vector<int32_t> rows_from(int32_t first, int32_t count) {
  std::vector<int32_t> rows;
  for (int32_t i = 0; i < count; i++) rows.push_back(first + i);
  return rows;
}

// Makes a context of 70 rows, two continuations of it, a continuation of the first rows of a continuation, and a sequence by itself.
std::vector<Piece> a_tree() {
  std::vector<int32_t> after_first = rows_from(0, 70);
  for (const int32_t row : rows_from(70, 3)) after_first.push_back(row);
  return {{{}, 0, 70}, {rows_from(0, 70), 70, 5}, {after_first, 75, 33}, {rows_from(0, 41), 108, 1}, {{}, 109, 37}};
}

TEST_P(PathAttentionOps, GoesOnFromRowsOfOthers) {
  check({16, 0, {0, 1}, 2, a_tree()});
  check({96, 0, {0}, 1, a_tree()});
  check({24, 0, {1, 0, 2, 0, 1}, 3, a_tree()});
}
TEST_P(PathAttentionOps, CappedScores) {
  for (const float cap : {0.5f, 50.0f}) check({24, 20, {1, 0, 1}, 2, a_tree(), cap});
}
TEST_P(PathAttentionOps, WindowsCountAlongThePath) {
  for (const int64_t window : {1, 4, 40, 74, 200}) check({8, window, {0}, 1, a_tree()});
}

}  // namespace espalier::test
