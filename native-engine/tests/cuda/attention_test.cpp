// Attention on the emulated card: its bytes, launches, FLOPs and turns of the shared memory.
#include "backend_ops/attention_run.h"
#include "counters.h"
#include "cuda_emulator/emulated_kind.h"

namespace espalier::test {

namespace {

// Three blocks of 64 rows, and two heads that read the same keys.
constexpr uint64_t kTokens = 192, kDim = 128, kHeads = 2, kBlocks = 3, kWarps = 4;
constexpr uint64_t kRowBytes = kDim * 2, kRotation = kTokens * kDim / 2 * 2 * sizeof(float);
// The rows of the other side that the blocks of a head go along: 64 for the first, 128 for the second, 192 for the third.
constexpr uint64_t kOtherRows = 64 + 128 + 192;
// The parts of 16 rows and 32 columns that see each other. A warp leaves out the others, which are two of the eight on the diagonal.
constexpr uint64_t kParts = kHeads * (6 + 14 + 22), kPartFlops = 2 * 16 * 32 * kDim;
// A value that lanes of a warp load together counts for each of them: 4 lanes share a query and 8 a column.
constexpr uint64_t kLanes = 32, kLanesOfRow = 4, kLanesOfColumn = 8;
constexpr uint64_t kLists = kBlocks * kWarps * kLanes * kHeads * sizeof(int32_t);  // which keys a head reads
constexpr uint64_t kScales = kBlocks * kWarps * kLanes * kHeads * sizeof(float);

}  // namespace

// The four products of a part are the scores, the gradients of the probabilities, and two sums. Queries go along their keys once.
TEST(CudaAttention, EachKernelOfTheBackwardPassReadsTheOtherSideOnce) {
  Device device(emulated_card("early"));
  cuda::emulator::Counting counting;
  const AttentionRun run(device, DType::kBF16, {1, kTokens, kDim, 0, {0, 0}, 1});
  constexpr uint64_t kRuns = 2;  // AttentionRun computes the gradients twice: beside the operands, and over them
  const cuda::emulator::Counters& queries = counting.of("attention_backward_queries");
  EXPECT_EQ(queries.launches, kRuns);
  EXPECT_EQ(queries.flops, kRuns * 4 * kParts * kPartFlops);
  EXPECT_EQ(queries.bank_conflicts, 0u);
  const uint64_t other = kHeads * kOtherRows * 2 * kRowBytes;
  const uint64_t lse_and_delta = kHeads * kTokens * (kLanesOfRow + 1) * sizeof(float), dots = kHeads * kBlocks * sizeof(double);
  EXPECT_EQ(queries.global_bytes,
            kRuns * (kHeads * (kTokens * 3 * kRowBytes + kRotation) + other + lse_and_delta + dots + kLists + kScales));

  const cuda::emulator::Counters& keys = counting.of("attention_backward_keys");
  EXPECT_EQ(keys.launches, kRuns);
  EXPECT_EQ(keys.flops, kRuns * 4 * kParts * kPartFlops);
  EXPECT_EQ(keys.bank_conflicts, 0u);
  const uint64_t columns = kParts * 32 * kLanesOfColumn * 2 * sizeof(float), scales = kParts * kLanes * sizeof(float);
  EXPECT_EQ(keys.global_bytes, kRuns * (kTokens * 4 * kRowBytes + kRotation + other + columns + scales + kLists));
  EXPECT_EQ(counting.of("add_head_sums").launches, kRuns);
  EXPECT_EQ(counting.of("copy").launches, 1u) << "the queries' gradient, where all gradients overwrite the operands";
}

// The shared memory that a block takes, static and dynamic. Cards of compute capability 8.6, 8.9 and 12 have 99 KiB for a block, those
// of 8.0 have 163 and Hopper cards 227. The emulated card has the least of them.
TEST(CudaAttention, ABlockFitsTheSharedMemoryOfEveryCard) {
  struct Size {
    DType type;
    int64_t dim;
    uint64_t forward, backward;
  };
  for (const Size& z : {Size{DType::kBF16, 64, 27648, 36864}, Size{DType::kBF16, 96, 39936, 53248}, Size{DType::kBF16, 128, 52224, 69632},
                        Size{DType::kBF16, 192, 67584, 101376}, Size{DType::kBF16, 256, 67584, 101376}, Size{DType::kF32, 64, 52224, 69632},
                        Size{DType::kF32, 96, 67584, 101376}, Size{DType::kF32, 128, 67584, 101376}, Size{DType::kF32, 192, 99840, 99840},
                        Size{DType::kF32, 256, 99840, 99840}}) {
    Device device(emulated_card("early"));
    const cuda::emulator::Counting counting(cuda::emulator::Details::kLaunches);
    const AttentionRun run(device, z.type, {1, 20, z.dim, 0, {0}, 1});
    device.backend().synchronize();
    const char* const type = z.type == DType::kBF16 ? "bf16" : "f32";
    EXPECT_EQ(counting.of("attention").shared_bytes, z.forward) << type << ", " << z.dim;
    for (const char* kernel : {"attention_backward_queries", "attention_backward_keys"})
      EXPECT_EQ(counting.of(kernel).shared_bytes, z.backward) << kernel << ", " << type << ", " << z.dim;
    for (const auto& [kernel, made] : counting.all()) EXPECT_LE(made.shared_bytes, uint64_t{99} << 10) << kernel;
  }
}

// The pass over the sums reads queries and keys alone. Values are in their place already, in the bits of a product that rounds its sums.
TEST(CudaAttention, ValuesNeedNoPassBehindTheirProduct) {
  constexpr int64_t kRows = 70, kIn = 64, kOwn = 3 * 24, kPadded = 80, kQueries = 2 * kPadded, kAll = kQueries + 2 * kPadded;
  Device device(emulated_card("early"));
  const Buffer x(device, DType::kBF16, kRows, kIn, kIn, Random(1)), space(device, DType::kF32, kRows, kAll),
      made(device, DType::kBF16, kRows, kAll, kAll, [](int64_t, int64_t) { return 7.0f; }), values(device, DType::kBF16, kRows, kOwn);
  const List<float> w(device, random_floats(kQueries * kIn, 2)), cosines(device, random_floats(kRows * 12, 3)),
      sines(device, random_floats(kRows * 12, 4));
  const List<int32_t> kv_of_head(device, std::vector<int32_t>{0, 0, 1, 1, 2, 2});
  const AttentionShape shape{1, kRows, 6, 3, 24, kQueries, kPadded, 0, kv_of_head.data(), cosines.data(), sines.data(), nullptr};
  const auto term = [&](int64_t rows) {
    return ProductTerm{x.tensor(), {{w.data().as<const std::byte>(), DType::kF32, rows, kIn}, rows, kIn, nullptr, nullptr}};
  };
  AttentionOperands op{shape, {}, space.tensor(), made.tensor(), {}, {}, nullptr};
  for (int p = 0; p < 3; p++) {
    op.products[p].transposed = true;
    op.products[p].terms[op.products[p].count++] = term(p == 0 ? kQueries : kPadded);
  }
  cuda::emulator::Counting counting;
  device.run(op);
  device.backend().synchronize();
  const uint64_t sums = kRows * 9 * 24, angles = kRows * 9 * 12 * 2;
  EXPECT_EQ(counting.of("attention_operands").global_bytes, sums * 6 + angles * 4);
  Product alone;
  alone.c = values.tensor();
  alone.transposed = true;
  alone.terms[alone.count++] = term(kOwn);
  device.run(alone);
  for (int64_t n = 0; n < kRows; n++)
    for (int64_t j = 0; j < kPadded; j++)
      ASSERT_EQ(made.get(n, kQueries + kPadded + j), j < kOwn ? values.get(n, j) : 7.0) << n << "," << j;
}

}  // namespace espalier::test
