// The products' kernel for Hopper cards on the emulator: tiles that are copied whole, descriptors of factors, and the waits between the
// warpgroups of a block.
#include "hopper.h"

#include <cstdlib>
#include <utility>

#include "counters.h"
#include "cuda/products/product_case.h"
#include "cuda_emulator/emulator.h"
#include "cuda_kind.h"
#include "products/product.h"

namespace espalier::test {

namespace {

using cuda::emulated::Cards;

// While this object lives, emulated cards are Hopper cards with few multiprocessors, which use the kernel for products of any size.
class OnHopper {
 public:
  explicit OnHopper(const char* asked = "on", int minor = 0)
      : cards_(cuda::emulated::show_cards(hopper_cards(minor))), limits_(std::exchange(cuda::emulated::hopper_limits(), {1, 1})) {
    setenv("ESPALIER_HOPPER_PRODUCTS", asked, 1);
  }
  ~OnHopper() {
    unsetenv("ESPALIER_HOPPER_PRODUCTS");
    cuda::emulated::hopper_limits() = limits_;
    cuda::emulated::show_cards(std::move(cards_));
  }
  OnHopper(const OnHopper&) = delete;
  OnHopper& operator=(const OnHopper&) = delete;

 private:
  static Cards hopper_cards(int minor) {
    Cards cards = cuda::emulated::list_cards();
    for (cuda::emulated::Card& card : cards.cards) card.major = 9, card.minor = minor, card.multiprocessors = 3;
    return cards;
  }
  Cards cards_;
  cuda::emulated::HopperLimits limits_;
};

// Two rows of tiles of 128 and two columns of tiles of 256, of which the last are not full. The depth takes more stages than there are, and
// ends within one.
constexpr int64_t kProductRows = 170, kCols = 298, kDepth = 360;

// Returns how often a product launched the kernel.
uint64_t launches(const ProductCase& z) {
  cuda::emulator::Counting counting(cuda::emulator::Details::kLaunches);
  product_on("early", z);
  const auto& all = counting.all();
  return all.contains("product_hopper") ? all.at("product_hopper").launches : 0;
}

}  // namespace

// Each value is one sum along the parts in both kernels, and on the emulator both have the same tensor core. So any wrong factor, and any
// that is read too early or too late, changes bits.
TEST(Hopper, ProductsHaveTheBitsOfTheOtherKernelInEveryForm) {
  for (int bits = 0; bits < 32; bits++) {
    ProductCase z{(bits & 1) != 0, (bits & 2) != 0, (bits & 4) != 0, (bits & 8) != 0, (bits & 16) != 0};
    if (z.accumulate && !z.f32_result) continue;
    const bool large = bits % 8 == 3 || bits % 8 == 0;
    if (large) z.rows = kProductRows, z.cols = kCols, z.depth = kDepth;
    const std::vector<double> expected = product_on("early", z);
    const OnHopper hopper;
    EXPECT_EQ(product_on(bits % 2 == 0 ? "late:5" : "late:8", z), expected) << bits;
    if (large) {
      EXPECT_EQ(product_on("early", z), expected) << bits;
    }
  }
}

TEST(Hopper, IsTakenWhereItIsAskedForAndTheCardHasItsInstructions) {
  const ProductCase z{true, true, false, false, false};
  EXPECT_EQ(launches(z), 0u);
  {
    const OnHopper hopper;
    EXPECT_EQ(launches(z), 1u);
    ProductCase any_company = z, in_f32 = z;
    any_company.by_shape = false;
    EXPECT_EQ(launches(any_company), 0u) << "a row's bits must not depend on the others";
    in_f32.type = DType::kF32;
    EXPECT_EQ(launches(in_f32), 0u);
    cuda::emulated::hopper_limits().rows = static_cast<int32_t>(z.rows) + 1;
    EXPECT_EQ(launches(z), 0u);
  }
  EXPECT_EQ((OnHopper("off"), launches(z)), 0u);
  EXPECT_EQ((OnHopper("on", 3), launches(z)), 0u) << "only 9.0 has these instructions";
}

TEST(Hopper, IsNamedByDevicesAndInTheFingerprint) {
  const cuda::emulated::Cards before = cuda::emulated::show_cards({{{"H100", 132, 9, 0, 1 << 30, 1 << 30}}, "13.0", ""});
  const auto words = [] {
    const auto& kind = cuda::emulated::cuda_kind();
    return kind.devices().at(0).products + "; " + kind.fingerprint({"cuda", 0, 0, ""});
  };
  EXPECT_EQ(words().find("for Hopper"), std::string::npos);
  const std::string off = words();
  {
    const OnHopper hopper;
    const std::string on = words();
    EXPECT_NE(on.find("own products for Hopper cards, "), std::string::npos);
    EXPECT_NE(on.find("own products for Hopper cards 1, "), std::string::npos);
  }
  EXPECT_EQ(words(), off);
  cuda::emulated::show_cards(before);
}

// Each factor is read once for every tile of the other factor. Multiplications of zeros beyond the matrices are not free: tiles are full.
TEST(Hopper, CostsWhatItsTilesSay) {
  for (const bool transposed : {true, false}) {
    const OnHopper hopper;
    ProductCase z{transposed, true, false, false, false};
    z.rows = 256, z.cols = 512, z.depth = 128;
    cuda::emulator::Counting counting;
    product_on("early", z);
    const cuda::emulator::Counters& c = counting.of("product_hopper");
    const auto values = static_cast<uint64_t>((z.cols / 256 * z.rows + z.rows / 128 * z.cols) * z.depth);
    EXPECT_EQ(c.blocks, 3u) << "one for each multiprocessor";
    EXPECT_EQ(c.flops, static_cast<uint64_t>(2 * z.rows * z.cols * z.depth));
    EXPECT_EQ(c.global_bytes, values * 2 + static_cast<uint64_t>(z.rows * z.cols * 4));
    EXPECT_EQ(c.global_sectors * 32, c.global_bytes) << "every byte of every sector is used";
    EXPECT_EQ(c.bank_conflicts, 0u);
  }
}

namespace {

// Heads of this size with LoRA, in two rows of tiles: the queries' heads fill more than one tile.
struct HeadsCase {
  int64_t dim, heads, kv_heads;
  bool bias = false;
};

std::vector<char> operands_on(const std::string& behaviour, const HeadsCase& z) {
  constexpr int64_t kTokens = 85, kRows = 2 * kTokens, kIn = 72, kRank = 8;
  const int64_t half = z.dim / 2, queries = padded_width(z.heads * z.dim) + 64, keys = padded_width(z.kv_heads * z.dim),
                width = queries + 2 * keys;
  Device device(emulated_card(behaviour));
  const Buffer x(device, DType::kBF16, kRows, kIn, kIn, Random(1)), narrow(device, DType::kBF16, kRows, kRank, kRank, Random(2)),
      space(device, DType::kF32, kRows, width), made(device, DType::kBF16, kRows, width, width, [](int64_t, int64_t) { return 7.0f; });
  const List<float> w(device, random_floats(width * kIn, 3)), lora(device, random_floats(width * kRank, 4)),
      cosines(device, random_floats(kTokens * half, 5)), sines(device, random_floats(kTokens * half, 6)),
      bias(device, random_floats(width, 7));
  const List<int32_t> kv_of_head(device, std::vector<int32_t>(static_cast<size_t>(z.heads), 0));
  AttentionShape shape{2, kTokens, z.heads, z.kv_heads, z.dim, queries, keys, 0, kv_of_head.data(), cosines.data(), sines.data(), nullptr};
  if (z.bias) shape.bias = bias.data();
  AttentionOperands op{shape, {}, space.tensor(), made.tensor(), {}, {}, nullptr};
  for (int p = 0; p < 3; p++) {
    const int64_t rows = p == 0 ? queries : keys;
    op.products[p].transposed = op.products[p].by_shape = true;
    op.products[p].add(x.tensor(), {{w.data().as<const std::byte>(), DType::kF32, rows, kIn}, rows, kIn, nullptr, nullptr});
    op.products[p].add(narrow.tensor(),
                       {{lora.data().as<const std::byte>(), DType::kF32, rows, kRank}, rows, kRank, nullptr, nullptr, 0.5f});
  }
  device.run(op);
  made.expect_untouched_outside();
  return made.bytes();
}

}  // namespace

// Queries and keys are turned by the products that make them, so no pass is left behind them. Other sizes of heads keep their pass.
TEST(Hopper, HeadsAreTurnedByTheirProductInTheSameBits) {
  for (const HeadsCase& z : {HeadsCase{128, 3, 2}, HeadsCase{64, 5, 1}, HeadsCase{96, 3, 1}, HeadsCase{128, 2, 1, true}}) {
    const std::vector<char> expected = operands_on("early", z);
    const OnHopper hopper;
    cuda::emulator::Counting counting;
    EXPECT_EQ(operands_on("late:5", z), expected) << z.dim;
    const bool turned = z.dim != 96 && !z.bias;
    EXPECT_EQ(counting.all().contains("product_hopper_turned"), turned) << z.dim;
    EXPECT_EQ(counting.all().contains("attention_operands"), !turned) << z.dim;
    if (!turned) continue;
    const cuda::emulator::Counters& c = counting.of("product_hopper_turned");
    EXPECT_EQ(c.launches, 2u);
    EXPECT_EQ(c.bank_conflicts, 0u);
  }
}

// LoRA's terms are added in registers, so the weight with the factors beside it is not packed a second time, and no pass finishes sums.
TEST(Hopper, ASessionHasTheBitsOfTheOtherKernel) {
  const std::string own = digest_of_session("early");
  const OnHopper hopper;
  cuda::emulated::hopper_limits().cols = 64;  // the projections alone, since the emulator takes as long for a tile that is nearly empty
  cuda::emulator::Counting counting(cuda::emulator::Details::kLaunches);
  EXPECT_EQ(digest_of_session("late:7"), own);
  EXPECT_GT(counting.of("product_hopper").launches, 10u);
  EXPECT_FALSE(counting.all().contains("finish_product"));
}

}  // namespace espalier::test
