// Ops that place and add columns (embedding, the loss gradient), and attention where the result is known without a reference.
#include "files/number_formats.h"
#include "op_fixture.h"

namespace espalier::test {

class MovementOps : public OpTest {};
INSTANTIATE_TEST_SUITE_P(All, MovementOps, testing::ValuesIn(op_cases()), case_name);

constexpr int64_t kRows = 37, kOpen = 43, kWidth = 48, kFull = 61;

// Returns the open columns: each third column up to 50 is missing. The list is padded with -1.
std::vector<int32_t> open_columns() {
  std::vector<int32_t> cols;
  for (int32_t j = 0; j < kFull && static_cast<int64_t>(cols.size()) < kOpen; j++)
    if (j % 3 != 1 || j > 50) cols.push_back(j);
  cols.resize(kWidth, -1);
  return cols;
}

TEST_P(MovementOps, EmbeddingOfOpenColumnsFromEveryStoredType) {
  constexpr int64_t kVocab = 29;
  const List<int32_t> cols(device, open_columns());
  const List<float> scale(device, random_floats(kWidth, 2));
  std::vector<int32_t> id_list;
  for (int32_t n = 0; n < kRows; n++) id_list.push_back(n * n % kVocab);
  const List<int32_t> ids(device, id_list);
  for (const DType stored : {DType::kF32, DType::kBF16, DType::kF16}) {
    Random values(3);
    std::vector<double> table(kVocab * kFull);
    std::vector<uint8_t> bytes(table.size() * dtype_bytes(stored));
    for (size_t i = 0; i < table.size(); i++) {
      encode(values(), stored, bytes.data() + i * dtype_bytes(stored));
      table[i] = decode(bytes.data(), stored, static_cast<int64_t>(i));
    }
    Buffer out(device, DType::kF32, kRows, kWidth), plain(device, DType::kF32, kRows, kFull);
    const List<uint8_t> on_device(device, bytes);
    Embed op{out.tensor(), {on_device.data().as<const std::byte>(), stored, kVocab, kFull}, ids.data(), cols.data(), scale.data()};
    device.run(op);
    op.out = plain.tensor();
    op.cols = nullptr;
    op.scale = nullptr;
    device.run(op);
    for (int64_t n = 0; n < kRows; n++) {
      for (int64_t j = 0; j < kWidth; j++) {
        const double expected = cols[j] < 0 ? 0.0 : table[ids[n] * kFull + cols[j]] * scale[j];
        EXPECT_NEAR(out.get(n, j), expected, 1e-7 * std::abs(expected)) << n << "," << j;
      }
      for (int64_t j = 0; j < kFull; j++) EXPECT_EQ(plain.get(n, j), table[ids[n] * kFull + j]) << n << "," << j;
    }
    out.expect_untouched_outside();
    plain.expect_untouched_outside();
  }
}

// A device may copy large blocks in pieces, and many blocks side by side.
TEST_P(MovementOps, ManyBlocksArriveWholeWhateverTheirSize) {
  Backend& backend = device.backend();
  std::vector<std::vector<char>> sent, arrived;
  std::vector<DeviceBuffer> held;
  for (const size_t size : {size_t{1}, size_t{4096}, size_t{262143}, size_t{262145}, size_t{1000003}}) {
    Random values(static_cast<uint32_t>(size));
    std::vector<char>& bytes = sent.emplace_back(size);
    for (char& byte : bytes) byte = static_cast<char>(127 * values());
    held.push_back(backend.allocate(size));
    upload_now<char>(backend, held.back().data().as<char>(), bytes);
    arrived.emplace_back(size + 1, '#');
  }
  std::vector<Download> blocks;
  for (size_t i = 0; i < sent.size(); i++)
    blocks.push_back({reinterpret_cast<std::byte*>(arrived[i].data()), held[i].data(), sent[i].size()});
  backend.download_all(blocks);
  for (size_t i = 0; i < sent.size(); i++) {
    EXPECT_EQ(arrived[i].back(), '#') << "behind a block of " << sent[i].size();
    arrived[i].pop_back();
    EXPECT_TRUE(arrived[i] == sent[i]) << "a block of " << sent[i].size();
  }
}

TEST_P(MovementOps, EmbeddingOfManyColumns) {
  constexpr int64_t kVocab = 3, kColumns = 700;
  const std::vector<float> table = random_floats(kVocab * kColumns, 4);
  const List<float> on_device(device, table);
  const List<int32_t> ids(device, std::vector<int32_t>{2, 0});
  const Buffer out(device, DType::kF32, 2, padded_width(kColumns));
  device.run(Embed{out.tensor(), {on_device.data().as<const std::byte>(), DType::kF32, kVocab, kColumns}, ids.data(), nullptr, nullptr});
  for (int64_t n = 0; n < 2; n++)
    for (int64_t j = 0; j < padded_width(kColumns); j++)
      ASSERT_EQ(out.get(n, j), j < kColumns ? table[ids[n] * kColumns + j] : 0.0) << n << "," << j;
  out.expect_untouched_outside();
}

// Rows of whole pieces of 16 bytes and others, narrow and wide, and columns that begin within a piece.
TEST_P(MovementOps, CopyAndClearTouchNothingElse) {
  for (const int64_t width : {8, 48, 50, 300})
    for (const auto& [first, count] : {std::pair<int64_t, int64_t>{0, width}, {3, 5}}) {
      const Buffer from(device, type(), kRows, width, width, Random(6)),
          to(device, type(), kRows, width, width, [](int64_t, int64_t) { return 7.0f; });
      device.run(Copy{to.tensor().columns(first, count), from.tensor().columns(first, count)});
      for (int64_t n = 0; n < kRows; n++)
        for (int64_t j = 0; j < width; j++)
          ASSERT_EQ(to.get(n, j), j >= first && j < first + count ? from.get(n, j) : 7.0) << n << "," << j << " of " << width;
      to.expect_untouched_outside();
    }
  const List<float> values(device, kFull + 2, 7.0f);
  device.run(Clear{values.data() + 1, kFull});
  EXPECT_EQ(values[0], 7.0f);
  EXPECT_EQ(values[kFull + 1], 7.0f);
  for (int64_t i = 1; i <= kFull; i++) EXPECT_EQ(values[i], 0.0f);
}

TEST_P(MovementOps, AddTouchesNothingElse) {
  constexpr int64_t kSize = 5003;
  const std::vector<float> before = random_floats(kSize + 2, 21), from = random_floats(kSize, 22);
  const List<float> to(device, before), added(device, from);
  device.run(Add{to.data() + 1, added.data(), kSize});
  EXPECT_EQ(to[0], before[0]);
  EXPECT_EQ(to[kSize + 1], before[kSize + 1]);
  for (int64_t i = 0; i < kSize; i++) ASSERT_EQ(to[i + 1], before[i + 1] + from[i]);
  EXPECT_THROW(device.run(Add{to.data(), to.data() + 10, 11}), Error);
}

// A chunk may have no rows, and a list no values: then sums are 0 and nothing is written.
TEST_P(MovementOps, OpsOfNoRowsChangeNothing) {
  const Buffer wide(device, type(), 2, 2 * kWidth, 2 * kWidth, Random(30)), x(device, DType::kF32, 2, kWidth, kWidth, Random(31)),
      dx(device, DType::kF32, 2, kWidth, kWidth, Random(32)), out(device, type(), 2, kWidth, kWidth, Random(33)),
      units(device, type(), 2, kWidth, kWidth, Random(34));
  const std::vector<std::vector<char>> before{wide.bytes(), dx.bytes(), out.bytes(), units.bytes()};
  const List<float> ones(device, kWidth, 1.0f), dot(device, kWidth, 5.0f), rstd(device, 2, 5.0f), table(device, kWidth, 5.0f);
  const List<double> sum(device, 1, 5.0);
  const List<int32_t> ids(device, 2);
  const auto none = [](const Buffer& b) { return b.tensor().row_range(0, 0); };
  device.run(Copy{none(out), none(units)});
  device.run(Embed{none(dx), {table.data().as<const std::byte>(), DType::kF32, 1, kWidth}, ids.data(), nullptr, nullptr});
  device.run(RmsNorm{none(x), none(out), rstd.data(), ones.data(), kWidth, 1e-5f, nullptr});
  device.run(Swiglu{none(wide), none(units)});
  device.run(AddLossGradient{none(dx), none(units), 0.5f, none(out), ones.data()});
  device.run(Add{dot.data(), ones.data(), 0});
  device.run(SquareSum{ones.data(), 0, sum.data()});
  EXPECT_EQ(sum[0], 0.0);
  EXPECT_EQ((std::vector<std::vector<char>>{wide.bytes(), dx.bytes(), out.bytes(), units.bytes()}), before);
  for (const float v : {dot[0], dot[kWidth - 1], rstd[0], rstd[1]}) EXPECT_EQ(v, 5.0f);
  device.run(SwigluBackward{none(wide), none(out), none(wide), none(units), dot.data(), ones.data()});
  EXPECT_EQ(dot[0], 0.0f);
}

TEST_P(MovementOps, LossGradientJoinsTheStream) {
  for (const auto& [rows, width] : {std::pair<int64_t, int64_t>{1, kWidth}, {kRows, kWidth}, {3, 1168}}) {
    Buffer dx(device, DType::kF32, rows, width, width - 5, Random(7)), diff(device, type(), rows, width, width - 5, Random(8)),
        rounded(device, type(), rows, width);
    std::vector<double> before;
    for (int64_t n = 0; n < rows; n++)
      for (int64_t j = 0; j < width; j++) before.push_back(dx.get(n, j));
    const List<float> scale(device, random_floats(width, 12));
    device.run(AddLossGradient{dx.tensor(), diff.tensor(), 0.3f, rounded.tensor(), scale.data()});
    ErrorSum sum, copy;
    for (int64_t n = 0; n < rows; n++)
      for (int64_t j = 0; j < width; j++) {
        const double expected = before[n * width + j] + static_cast<double>(0.3f) * diff.get(n, j);
        sum.add(dx.get(n, j), expected);
        copy.add(rounded.get(n, j), scale[j] * expected);
      }
    EXPECT_LT(sum.relative(), 2e-7);
    EXPECT_LT(copy.relative(), tolerance());
    for (const Buffer* b : {&dx, &rounded}) b->expect_untouched_outside();
  }
}

// The last norm of a step has nothing to add to, so the earlier contents of dx must not matter.
TEST_P(MovementOps, NormGradientThatStartsAStream) {
  Buffer x(device, DType::kF32, kRows, kWidth, kOpen, Random(9, 3.0f)), dout(device, DType::kF32, kRows, kWidth, kOpen, Random(10)),
      out(device, type(), kRows, kWidth);
  Buffer dx(device, DType::kF32, kRows, kWidth), rounded(device, type(), kRows, kWidth);  // dx is filled with NaN
  const List<float> rstd(device, kRows), dot(device, kWidth), weight(device, random_floats(kWidth, 11));
  device.run(RmsNorm{x.tensor(), out.tensor(), rstd.data(), weight.data(), kFull, 1e-5f, nullptr});
  RmsNormBackward op;
  op.dout = dout.tensor();
  op.saved = x.tensor();
  op.rstd = rstd.data();
  op.weight = weight.data();
  op.width = kFull;
  op.dx = dx.tensor();
  op.accumulate = false;
  op.dx_compute = rounded.tensor();
  op.mask_dot = dot.data();
  device.run(op);
  ErrorSum error;
  for (int64_t n = 0; n < kRows; n++) {
    double squares = 0, along = 0;
    for (int64_t j = 0; j < kOpen; j++) squares += x.get(n, j) * x.get(n, j), along += dout.get(n, j) * weight[j] * x.get(n, j);
    const double r = 1 / std::sqrt(squares / kFull + 1e-5);
    for (int64_t j = 0; j < kWidth; j++) error.add(dx.get(n, j), r * (dout.get(n, j) * weight[j] - x.get(n, j) * r * r * along / kFull));
  }
  EXPECT_LT(error.relative(), 2e-6);
}

// A query that sees one key gives it probability 1, whatever the score: queries and keys must get no gradient.
TEST_P(MovementOps, AttentionToOneKeyHasNoScoreGradient) {
  constexpr int64_t kDim = 96, kTokens = 45;
  Buffer operands(device, type(), kTokens, 3 * kDim, 3 * kDim, Random(12)), out(device, type(), kTokens, kDim),
      dout(device, type(), kTokens, kDim, kDim, Random(13)), dqkv(device, type(), kTokens, 3 * kDim);
  const List<float> cos(device, kTokens * kDim / 2, 0.6f), sin(device, kTokens * kDim / 2, 0.8f), lse(device, kTokens);
  const List<int32_t> kv_of_head(device, 1);
  const List<double> head_dot(device, 1);
  double expected = 0;
  const AttentionShape shape{1, kTokens, 1, 1, kDim, kDim, kDim, 1, kv_of_head.data(), cos.data(), sin.data(), nullptr};
  device.run(Attention{shape, operands.tensor(), out.tensor(), lse.data(), nullptr});
  device.run(AttentionBackward{shape, operands.tensor(), dout.tensor(), lse.data(), dqkv.tensor(), head_dot.data(), nullptr});
  for (int64_t n = 0; n < kTokens; n++)
    for (int64_t j = 0; j < kDim; j++) {
      EXPECT_NEAR(dqkv.get(n, j), 0.0, 1e-6) << "query " << n << "," << j;
      EXPECT_NEAR(dqkv.get(n, kDim + j), 0.0, 1e-6) << "key " << n << "," << j;
      EXPECT_NEAR(dqkv.get(n, 2 * kDim + j), dout.get(n, j), 1e-6) << "value " << n << "," << j;
      expected += dout.get(n, j) * operands.get(n, 2 * kDim + j);
    }
  EXPECT_NEAR(head_dot[0], expected, 1e-5);
}

}  // namespace espalier::test
