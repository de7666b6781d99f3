// The products' kernel for Hopper cards on the emulator: tiles that are copied whole, descriptors of factors, and the waits between the
// warpgroups of a block.
#include "hopper.h"

#include <cstdlib>
#include <utility>

#include "counters.h"
#include "cuda/product_case.h"
#include "cuda_emulator/emulator.h"
#include "cuda_kind.h"
#include "product.h"

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
constexpr int64_t kRows = 170, kCols = 298, kDepth = 360;

// Returns how often a product launched the kernel.
uint64_t launches(const ProductCase& z) {
  cuda::emulator::Counting counting;
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
    if (large) z.rows = kRows, z.cols = kCols, z.depth = kDepth;
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

// LoRA's terms are added in registers, so the weight with the factors beside it is not packed a second time, and no pass finishes sums.
TEST(Hopper, ASessionHasTheBitsOfTheOtherKernel) {
  const std::string own = digest_of_session("early");
  const OnHopper hopper;
  cuda::emulated::hopper_limits().cols = 64;  // the projections alone, since the emulator takes as long for a tile that is nearly empty
  cuda::emulator::Counting counting;
  EXPECT_EQ(digest_of_session("late:7"), own);
  EXPECT_GT(counting.of("product_hopper").launches, 10u);
  EXPECT_FALSE(counting.all().contains("finish_product"));
}

}  // namespace espalier::test
