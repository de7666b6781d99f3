// Products on the emulated card: what they cost there, and that neither tiles nor orders change a bit.
#include "products/product.h"
#include "backend_ops/op_fixture.h"
#include "counters.h"
#include "cuda_emulator/emulated_kind.h"

namespace espalier::test {

namespace {

// Small integers: every sum of them is exact, so a right sum has the same bits in any order, and a wrong factor gives other bits.
float small_integer(int64_t i, int64_t j) { return static_cast<float>((i * 31 + j * 17 + i * j % 13) % 9 - 4); }

// A product c (+)= a b, with a dense b, so that nothing needs packing.
struct Case {
  DType type = DType::kBF16, result = DType::kF32;
  int64_t rows = 0, cols = 0, depth = 0;
  bool transposed = true;
};

// The factors and the result of a case on a device. The rows of b are dense, like those of stored weights.
struct Bench {
  Case z;
  Device device;
  Buffer a, c;
  std::vector<char> weight;
  DeviceBuffer stored;

  Bench(const Case& z_, const std::string& behaviour)
      : z(z_),
        device(emulated_card(behaviour)),
        a(device, z.type, z.rows, z.depth, z.depth, small_integer),
        c(device, z.result, z.rows, z.cols, z.cols, [](int64_t, int64_t) { return 5.0f; }) {
    const int64_t down = z.transposed ? z.cols : z.depth, across = z.transposed ? z.depth : z.cols;
    weight.resize(down * across * dtype_bytes(z.type));
    for (int64_t i = 0; i < down; i++)
      for (int64_t j = 0; j < across; j++) {
        const float v = z.transposed ? small_integer(j, i + 3) : small_integer(i, j + 3);
        uint32_t bits;
        std::memcpy(&bits, &v, 4);
        if (z.type == DType::kBF16) bits >>= 16;
        std::memcpy(weight.data() + (i * across + j) * dtype_bytes(z.type), &bits, dtype_bytes(z.type));
      }
    stored = device.backend().allocate(weight.size());
    upload_now<char>(device.backend(), stored.data().as<char>(), weight);
  }
  void run(bool accumulate = false) {
    Product op;
    op.c = c.tensor();
    op.transposed = z.transposed;
    op.accumulate = accumulate;
    const int64_t down = z.transposed ? z.cols : z.depth, across = z.transposed ? z.depth : z.cols;
    op.add(a.tensor(), {{stored.data(), z.type, down, across}, down, across, nullptr, nullptr});
    device.run(op);
  }
  double expected(int64_t i, int64_t j) const {
    double sum = 0;
    for (int64_t k = 0; k < z.depth; k++) sum += small_integer(i, k) * small_integer(k, j + 3);
    return sum;
  }
};

}  // namespace

namespace {

// While this object lives, products from these sizes on are computed as large ones.
class Limits {
 public:
  explicit Limits(cuda::emulated::ProductLimits limits) : before_(std::exchange(cuda::emulated::product_limits(), limits)) {}
  ~Limits() { cuda::emulated::product_limits() = before_; }

 private:
  cuda::emulated::ProductLimits before_;
};
constexpr int64_t kAnyNumber = int64_t{1} << 40;

}  // namespace

// Tests large tiles, of which the last in each row and column is not full, and depths that end within a tile.
TEST(CudaProduct, LargeTilesGiveExactSumsOfIntegers) {
  const Limits limits({kAnyNumber, 1});
  for (const DType type : {DType::kBF16, DType::kF32})
    for (const bool transposed : {true, false})
      for (const char* behaviour : {"early", "late:3"}) {
        Bench bench({type, DType::kF32, 298, 282, 72, transposed}, behaviour);
        bench.run(true);
        for (int64_t i = 0; i < bench.z.rows; i++)
          for (int64_t j = 0; j < bench.z.cols; j++) ASSERT_EQ(bench.c.get(i, j), 5 + bench.expected(i, j)) << i << "," << j;
        bench.c.expect_untouched_outside();
      }
}

// Computes the same rows and columns in a product of small tiles and in one of large tiles. The sums are rounded.
TEST(CudaProduct, BitsDoNotDependOnTheTiles) {
  for (const DType type : {DType::kBF16, DType::kF32}) {
    Device device(emulated_card("late:5"));
    constexpr int64_t kRows = 298, kCols = 282, kDepth = 200;
    const Buffer a(device, type, kRows, kDepth, kDepth, Random(1));
    const List<float> b(device, random_floats(kCols * kDepth, 2));
    const Buffer whole(device, DType::kF32, kRows, kCols), part(device, DType::kF32, 70, kCols);
    const auto run = [&](Tensor left, Tensor c) {
      Product op;
      op.c = c;
      op.transposed = true;
      op.add(left, {{b.data().as<const std::byte>(), DType::kF32, kCols, kDepth}, kCols, kDepth, nullptr, nullptr});
      device.run(op);
    };
    {
      const Limits large({kAnyNumber, 1});
      run(a.tensor(), whole.tensor());
    }
    const Limits small({kAnyNumber, 1000});
    run(a.tensor().row_range(130, 70), part.tensor());
    for (int64_t i = 0; i < 70; i++)
      for (int64_t j = 0; j < kCols; j++) ASSERT_EQ(part.get(i, j), whole.get(130 + i, j)) << i << "," << j;
  }
}

// The packed factors have room for fewer columns than the result has, so it is computed in slices, of which the last is narrower.
TEST(CudaProduct, BitsDoNotDependOnSlicesOfColumns) {
  for (const DType type : {DType::kBF16, DType::kF32})
    for (const bool transposed : {true, false}) {
      Device device(emulated_card("late:9"));
      constexpr int64_t kRows = 40, kCols = 300, kDepth = 96, kRank = 8;
      const Buffer a(device, type, kRows, kDepth, kDepth, Random(1)), narrow(device, type, kRows, kRank, kRank, Random(2));
      const List<float> b(device, random_floats(kCols * kDepth, 3)), lora(device, random_floats(kCols * kRank, 4)),
          scale(device, random_floats(kCols, 5));
      const auto made = [&](int64_t packed_values) {
        const Limits limits({packed_values, 1000});
        Buffer c(device, DType::kF32, kRows, kCols, kCols, Random(6));
        Product op;
        op.c = c.tensor();
        op.transposed = transposed;
        op.accumulate = true;
        op.column_scale = scale.data();
        const auto term = [&](const Buffer& x, const List<float>& values, int64_t depth) {
          const int64_t down = transposed ? kCols : depth, across = transposed ? depth : kCols;
          op.add(x.tensor(), {{values.data().as<const std::byte>(), DType::kF32, down, across}, down, across, nullptr, nullptr, 0.5f});
        };
        term(a, b, kDepth);
        term(narrow, lora, kRank);
        device.run(op);
        return c.bytes();
      };
      EXPECT_EQ(made(1), made(kAnyNumber)) << "slices of 128 columns";
    }
}

// The cost model: two FLOPs for each product of two values; each factor is read once for every tile of the other factor; each result is
// written once.
TEST(CudaProduct, CostsWhatItsTilesSay) {
  for (const uint64_t tile : {64, 128})
    for (const DType type : {DType::kBF16, DType::kF32})
      for (const bool transposed : {true, false}) {
        const Limits limits({kAnyNumber, tile == 64 ? 1000u : 1u});
        const Case z{type, DType::kF32, 256, 384, 128, transposed};
        Bench bench(z, "early");
        cuda::emulator::Counting counting;
        bench.run();
        bench.device.backend().synchronize();
        EXPECT_EQ(counting.all().size(), 1u) << "dense factors are not packed";
        const cuda::emulator::Counters& c = counting.of(type == DType::kBF16 ? "product_bf16" : "product_f32");
        const uint64_t values = (z.cols / tile * z.rows + z.rows / tile * z.cols) * z.depth;
        EXPECT_EQ(c.blocks, z.rows / tile * (z.cols / tile));
        EXPECT_EQ(c.flops, static_cast<uint64_t>(2 * z.rows * z.cols * z.depth));
        EXPECT_EQ(c.global_bytes, values * dtype_bytes(type) + z.rows * z.cols * 4);
        EXPECT_EQ(c.global_sectors * 32, c.global_bytes) << "every byte of every sector is used";
        EXPECT_EQ(c.bank_conflicts, 0u);
      }
}

}  // namespace espalier::test
