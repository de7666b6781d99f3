// LoRA's ops on the emulated card: what they cost it, and that sharing one x between projections changes no bit.
#include "backend_ops/op_fixture.h"
#include "counters.h"
#include "cuda_emulator/emulated_kind.h"

namespace espalier::test {

namespace {

constexpr int kProjections = 3;
constexpr int64_t kRows = 1024, kIn = 256, kOut = 128, kRank = 8;  // tiles and parts without a rest

}  // namespace

// The gradients of A of three projections read x once, and those of B read each dy once. Both read the narrow matrices once for every 128
// columns of the wide one, and write the sums of each part of the rows.
TEST(CudaLora, GradientsReadEachWideMatrixOnce) {
  Device device(emulated_card("early"));
  const Buffer x(device, DType::kBF16, kRows, kIn, kIn, Random(1)),
      narrow(device, DType::kBF16, kRows, kProjections * kRank, kProjections * kRank, Random(2));
  std::vector<Buffer> dy;
  std::vector<List<float>> da, db;
  LoraGradient op{x.tensor(), narrow.tensor(), narrow.tensor(), nullptr, kIn, kRank, 0.5f, kProjections, {}};
  for (uint32_t i = 0; i < kProjections; i++) {
    dy.emplace_back(device, DType::kBF16, kRows, kOut, kOut, Random(3 + i));
    da.emplace_back(device, kRank * kIn);
    db.emplace_back(device, kOut * kRank);
  }
  for (int i = 0; i < kProjections; i++) op.outputs[i] = {dy[i].tensor(), nullptr, da[i].data(), db[i].data(), kOut};
  cuda::emulator::Counting counting;
  device.backend().run(op);
  device.backend().synchronize();

  constexpr uint64_t kParts = 4, kBlockColumns = 128;  // 256 rows a part
  const cuda::emulator::Counters& sums = counting.of("factor_sums_bf16");
  EXPECT_EQ(sums.launches, 1u + kProjections);
  const uint64_t wide = kRows * (kIn + kProjections * kOut) * 2;
  const uint64_t narrow_bytes = kRows * kRank * kProjections * 2 * (kIn + kOut) / kBlockColumns;
  const uint64_t parts = kParts * kProjections * kRank * (kIn + kOut) * sizeof(float);
  EXPECT_EQ(sums.global_bytes, wide + narrow_bytes + parts);
  EXPECT_EQ(sums.bank_conflicts, 0u);
  // Tiles have 32 ranks for the 24 of A, and 16 for the 8 of each B: the rest of a tile are zeros.
  EXPECT_EQ(sums.flops, static_cast<uint64_t>(2 * kRows * (kIn * 32 + kProjections * kOut * 16)));
  EXPECT_EQ(counting.of("factor_gradient").launches, 2u * kProjections);
}

// One product of the three factors below each other reads x once for every 64 of their rows, and leaves the bits of three products.
TEST(CudaLora, NarrowProductsOfOneXAreOneProduct) {
  for (const DType type : {DType::kBF16, DType::kF32}) {
    Device device(emulated_card("early"));
    const Buffer x(device, type, kRows, kIn, kIn, Random(1));
    std::vector<List<float>> factors;
    for (uint32_t i = 0; i < kProjections; i++) factors.emplace_back(device, random_floats(kRank * kIn, 2 + i));
    const auto term = [&](int i) {
      return ProductTerm{x.tensor(), {{factors[i].data().as<const std::byte>(), DType::kF32, kRank, kIn}, kRank, kIn, nullptr, nullptr}};
    };
    Buffer together(device, type, kRows, kProjections * kRank);
    {
      cuda::emulator::Counting counting;
      device.backend().run(LoraNarrow{together.tensor(), kRank, true, kProjections, {term(0), term(1), term(2)}});
      device.backend().synchronize();
      const cuda::emulator::Counters& product = counting.of(type == DType::kBF16 ? "product_bf16" : "product_f32");
      EXPECT_EQ(product.launches, 1u);
      const uint64_t factor_values = kProjections * kRank * kIn * (kRows / 64);
      EXPECT_EQ(product.global_bytes, (kRows * kIn + factor_values + kRows * kProjections * kRank) * dtype_bytes(type));
    }
    for (int i = 0; i < kProjections; i++) {
      Buffer alone(device, type, kRows, kRank);
      device.run(LoraNarrow{alone.tensor(), kRank, true, 1, {term(i)}});
      for (int64_t n = 0; n < kRows; n++)
        for (int64_t k = 0; k < kRank; k++) ASSERT_EQ(together.get(n, i * kRank + k), alone.get(n, k)) << n << "," << i << "," << k;
    }
  }
}

}  // namespace espalier::test
