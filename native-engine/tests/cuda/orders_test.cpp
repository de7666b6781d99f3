// Runs kernels of the CUDA backend on the emulator. The order of blocks, warps and lanes and the delay of copies must change no bit.
#include "backend_ops/attention_run.h"
#include "cuda_emulator/emulated_kind.h"
#include "cuda_emulator/emulator.h"
#include "reduce.h"

namespace espalier::test {

namespace {

// Expects equal results under every behaviour. results_on(device) returns all bytes that its ops made.
template <class F>
void expect_equal_bits(F&& results_on) {
  const std::vector<std::vector<char>> expected = results_on(emulated_card("early"));
  for (const char* behaviour : {"late", "late:2", "late:12345"}) EXPECT_EQ(results_on(emulated_card(behaviour)), expected) << behaviour;
}

}  // namespace

TEST(CudaOrders, NormsAndTheirGradients) {
  expect_equal_bits([](const BackendSpec& spec) {
    Device device(spec);
    constexpr int64_t kRows = 300, kWidth = 1072;
    Buffer x(device, DType::kF32, kRows, kWidth, kWidth, Random(1, 3.0f)), out(device, DType::kBF16, kRows, kWidth),
        dout(device, DType::kF32, kRows, kWidth, kWidth, Random(2)), dx(device, DType::kF32, kRows, kWidth, kWidth, Random(3)),
        rounded(device, DType::kBF16, kRows, kWidth);
    const List<float> weight(device, random_floats(kWidth, 4)), rstd(device, kRows), dot(device, kWidth);
    device.run(RmsNorm{x.tensor(), out.tensor(), rstd.data(), weight.data(), kWidth, 1e-5f, nullptr});
    RmsNormBackward op;
    op.dout = dout.tensor();
    op.saved = x.tensor();
    op.rstd = rstd.data();
    op.weight = weight.data();
    op.width = kWidth;
    op.dx = dx.tensor();
    op.dx_compute = rounded.tensor();
    op.mask_dot = dot.data();
    device.run(op);
    return std::vector<std::vector<char>>{out.bytes(), dx.bytes(), rounded.bytes(), dot.bytes()};
  });
}

TEST(CudaOrders, CopiesOfNarrowRows) {
  expect_equal_bits([](const BackendSpec& spec) {
    Device device(spec);
    const Buffer from(device, DType::kBF16, 300, 24, 24, Random(1)), to(device, DType::kBF16, 300, 24);
    device.run(Copy{to.tensor().columns(8, 16), from.tensor().columns(8, 16)});
    return std::vector<std::vector<char>>{to.bytes()};
  });
}

TEST(CudaOrders, SumOfSquares) {
  expect_equal_bits([](const BackendSpec& spec) {
    Device device(spec);
    const List<float> values(device, random_floats(70001, 5));
    const List<double> sum(device, 1);
    device.run(SquareSum{values.data(), 70001, sum.data()});
    return std::vector<std::vector<char>>{sum.bytes()};
  });
}

// Products of two terms, one of them packed, in both orientations, and LoRA's gradients over several parts of the rows.
TEST(CudaOrders, ProductsAndGradientsOfFactors) {
  for (const auto& [type, kRank] : {std::pair<DType, int64_t>{DType::kBF16, 6}, {DType::kBF16, 8}, {DType::kF32, 6}})
    expect_equal_bits([type = type, kRank = kRank](const BackendSpec& spec) {
      Device device(spec);
      constexpr int64_t kRows = 777, kIn = 96, kOut = 80;
      const Buffer x(device, type, kRows, kIn, kIn, Random(1)), dy(device, type, kRows, kOut, kOut, Random(2)),
          narrow(device, type, kRows, kRank, kRank, Random(3));
      const Buffer c(device, DType::kF32, kRows, kOut, kOut, Random(4)), dx(device, type, kRows, kIn);
      const List<float> w(device, random_floats(kOut * kIn, 5)), b(device, random_floats(kOut * kRank, 6)),
          scale(device, random_floats(kOut, 7));
      const List<float> da(device, kRank * kIn), db(device, kOut * kRank);
      const auto stored = [](const List<float>& m, int64_t rows, int64_t cols) {
        return StoredMatrix{m.data().as<const std::byte>(), DType::kF32, rows, cols};
      };
      Product forth, back;
      forth.c = c.tensor();
      forth.transposed = forth.accumulate = true;
      forth.column_scale = scale.data();
      forth.add(x.tensor(), {stored(w, kOut, kIn), kOut, kIn, nullptr, nullptr});
      forth.add(narrow.tensor(), {stored(b, kOut, kRank), kOut, kRank, nullptr, nullptr, 0.5f});
      back.c = dx.tensor();
      back.add(dy.tensor(), {stored(w, kOut, kIn), kOut, kIn, nullptr, nullptr});
      device.run(forth);
      device.run(back);
      LoraGradient gradient{x.tensor(), narrow.tensor(), narrow.tensor(), nullptr, kIn, kRank, 0.5f, 1, {}};
      gradient.outputs[0] = {dy.tensor(), nullptr, da.data(), db.data(), kOut};
      device.run(gradient);
      return std::vector<std::vector<char>>{c.bytes(), dx.bytes(), da.bytes(), db.bytes()};
    });
}

TEST(CudaOrders, SwigluAndLayerLoss) {
  expect_equal_bits([](const BackendSpec& spec) {
    Device device(spec);
    constexpr int64_t kRows = 300, kWidth = 528;
    Buffer gate_up(device, DType::kBF16, kRows, 2 * kWidth, 2 * kWidth, Random(7)),
        dout(device, DType::kBF16, kRows, kWidth, kWidth, Random(8)), diff(device, DType::kBF16, kRows, kWidth),
        student(device, DType::kF32, kRows, kWidth, kWidth, Random(9)), teacher(device, DType::kF32, kRows, kWidth, kWidth, Random(10));
    const List<float> unit_dot(device, kWidth), hidden_dot(device, kWidth), ones(device, kWidth, 1.0f);
    const List<double> sum(device, 1);
    device.run(SwigluBackward{gate_up.tensor(), dout.tensor(), gate_up.tensor(), dout.tensor(), unit_dot.data(), ones.data()});
    device.run(LayerLoss{student.tensor(), teacher.tensor(), nullptr, ones.data(), diff.tensor(), sum.data(), hidden_dot.data(), nullptr,
                         nullptr});
    return std::vector<std::vector<char>>{gate_up.bytes(), dout.bytes(), unit_dot.bytes(), diff.bytes(), sum.bytes(), hidden_dot.bytes()};
  });
}

TEST(CudaOrders, TokenLosses) {
  expect_equal_bits([](const BackendSpec& spec) {
    Device device(spec);
    constexpr int64_t kRows = 3, kVocab = 5003;
    Buffer student(device, DType::kF32, kRows, kVocab, kVocab, Random(11, 6.0f)),
        teacher(device, DType::kF32, kRows, kVocab, kVocab, Random(12, 6.0f)), dlogits(device, DType::kF32, kRows, kVocab);
    const List<int32_t> targets(device, std::vector<int32_t>{5, -1, 5002});
    const List<double> kl(device, kRows), lm(device, kRows);
    device.run(TokenLoss{student.tensor(), teacher.tensor(), targets.data(), 1.5f, 0.3f, 0.9f, dlogits.tensor(), kl.data(), lm.data()});
    device.run(SoftCap{student.tensor(), 5.0f});
    return std::vector<std::vector<char>>{dlogits.bytes(), kl.bytes(), lm.bytes(), student.bytes()};
  });
}

TEST(CudaOrders, AttentionAndItsGradients) {
  for (const DType type : {DType::kF32, DType::kBF16})
    for (const OperandSize& size : {OperandSize{1, 150, 24, 70, {0, 0}, 1}, OperandSize{1, 70, 200, 0, {0}, 1},
                                    OperandSize{1, 100, 128, 0, {0, 0}, 1}, OperandSize{1, 70, 24, 0, {0}, 1, 0.8f, 2.0f}})
      expect_equal_bits([&](const BackendSpec& spec) {
        Device device(spec);
        return AttentionRun(device, type, size).results();
      });
}

// A card refuses a block with more threads than its kernel was compiled for. The emulator does not, so this test checks the sizes.
TEST(CudaDevice, ARowHasWholeWarpsUpToTheLargestBlock) {
  using cuda::emulated::threads_for_row;
  for (const auto& [width, threads] : std::vector<std::pair<int64_t, unsigned>>{
           {4, 32}, {16, 32}, {128, 32}, {144, 64}, {256, 64}, {272, 96}, {1008, 256}, {1024, 256}, {1040, 256}, {65536, 256}})
    EXPECT_EQ(threads_for_row(width), threads) << width;
}

TEST(CudaDevice, UploadsMayBeLargerThanTheMemoryTheyPassThrough) {
  for (const char* behaviour : {"early", "late"}) {
    Device device(emulated_card(behaviour));
    const std::vector<float> values = random_floats(5'000'000, 6);
    const List<float> large(device, values), small(device, {1.0f, 2.0f});
    device.run(Clear{small.data(), 1});
    EXPECT_EQ(small[0], 0.0f);
    EXPECT_EQ(small[1], 2.0f);
    for (size_t i = 0; i < values.size(); i += 4999) ASSERT_EQ(large[i], values[i]);
  }
}

}  // namespace espalier::test
