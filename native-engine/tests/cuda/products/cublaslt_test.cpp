// Products by cuBLASLt, which a stand-in computes on the emulator: how the library is loaded, when it is used, its layouts and algorithms.
#include "cublaslt.h"

#include <cstdlib>

#include "backend_ops/op_fixture.h"
#include "counters.h"
#include "cuda/products/product_case.h"
#include "cuda/products/with_library.h"
#include "cuda_emulator/device_memory.h"
#include "cuda_emulator/emulated_kind.h"
#include "cuda_kind.h"
#include "espalier/training/memory_plan.h"
#include "method/masks/masks.h"
#include "products/product.h"
#include "step/step_helpers.h"

namespace espalier::test {

TEST(Cublaslt, IsLoadedOrItIsSaidWhyNot) {
  const Cublaslt found({"/no/such/library", kStandIn});
  EXPECT_TRUE(found.usable());
  EXPECT_EQ(found.description(), "cuBLASLt 13.1.2");
  const Cublaslt missing({"/no/such/library"});
  EXPECT_FALSE(missing.usable());
  EXPECT_EQ(missing.description(), "own products: /no/such/library is not here");
  const Cublaslt other({"libdl.so.2"});
  EXPECT_EQ(other.description(), "own products: libdl.so.2 has no cublasLtGetVersion");
  setenv("STAND_IN_CUBLASLT_VERSION", "110501", 1);
  const Cublaslt old({kStandIn});
  unsetenv("STAND_IN_CUBLASLT_VERSION");
  EXPECT_FALSE(old.usable());
  EXPECT_NE(old.description().find("is version 11.5.1, 12.0.0 is the least that is used"), std::string::npos) << old.description();
  EXPECT_EQ(Cublaslt({}).description(), "own products");
}

TEST(Cublaslt, IsNamedByDevicesAndInTheFingerprint) {
  const BackendSpec card{"cuda", 0, 0, ""};
  const std::string without = cuda::emulated::cuda_kind().fingerprint(card);
  EXPECT_NE(without.find("own products"), std::string::npos) << without;
  EXPECT_EQ(cuda::emulated::cuda_kind().devices()[0].products, "own products");
  std::string with;
  {
    const WithLibrary library;
    with = cuda::emulated::cuda_kind().fingerprint(card);
    EXPECT_EQ(cuda::emulated::cuda_kind().devices()[0].products, "cuBLASLt 13.1.2");
  }
  EXPECT_NE(with.find("cuBLASLt 13.1.2, its first algorithm without split sums, workspace 33554432"), std::string::npos) << with;
  setenv("STAND_IN_CUBLASLT_VERSION", "130200", 1);
  const WithLibrary newer;
  unsetenv("STAND_IN_CUBLASLT_VERSION");
  EXPECT_NE(cuda::emulated::cuda_kind().fingerprint(card), with);
}

TEST(Cublaslt, IsLeftOutWhereItCannotBeStarted) {
  const WithLibrary library;
  const BackendSpec card{"cuda", 0, 0, ""};
  refuse_to_start(1);
  const int64_t before = products_made();
  const ProductCase plain{true, true, false, false, false};
  const std::vector<double> made = product_on("early", plain);
  EXPECT_EQ(products_made(), before);
  const std::string why = "own products: /no/such/library is not here, cuBLASLt 13.1.2 can't be used: cuBLASLt: cublasLtCreate: status 1";
  EXPECT_EQ(cuda::emulated::cuda_kind().devices()[0].products, why);
  EXPECT_EQ(cuda::emulated::cublaslt()->fingerprint(), "own products");
  EXPECT_EQ(product_on("early", plain), made) << "for the rest of the process, whatever the library does now";
  EXPECT_EQ(products_made(), before);
}

// A machine may have version 13, which its driver is too old for, beside version 12.
TEST(Cublaslt, ThatCannotBeStartedGivesPlaceToTheNext) {
  const WithLibrary library(std::make_shared<const Cublaslt>(std::vector<std::string>{kStandIn, "/no/such/library", kStandIn, kStandIn}));
  const ProductCase plain{true, true, false, false, false};
  refuse_to_start(2);
  const int64_t before = products_made();
  product_on("early", plain);
  EXPECT_EQ(products_made(), before + 1) << "by the third library that is there";
  EXPECT_EQ(cuda::emulated::cublaslt()->description(), "cuBLASLt 13.1.2");
  refuse_to_start(1);
  EXPECT_THROW(Device(emulated_card("early")), Error) << "it was started, and no other is behind it";
}

// Sessions that began with the library go on with it, so a second session that can't start it must be refused: it would get other bits.
TEST(Cublaslt, ThatWasStartedOnceMustStartAgain) {
  const WithLibrary library;
  const Device first(emulated_card("early"));
  refuse_to_start(1);
  EXPECT_THROW(Device(emulated_card("early")), Error);
  EXPECT_TRUE(cuda::emulated::cublaslt()->usable());
}

// Every form of a product, in slices of columns where sums are finished by a second kernel.
TEST(Cublaslt, MakesTheProductsOfTheOwnKernel) {
  for (int bits = 0; bits < 32; bits++) {
    const ProductCase z{(bits & 1) != 0, (bits & 2) != 0, (bits & 4) != 0, (bits & 8) != 0, (bits & 16) != 0};
    if (z.accumulate && !z.f32_result) continue;
    const std::vector<double> own = product_on("early", z);
    const WithLibrary library;
    const int64_t before = products_made();
    const std::vector<double> made = product_on("early", z);
    EXPECT_GT(products_made(), before) << bits;
    double difference = 0, squares = 0;
    for (size_t i = 0; i < own.size(); i++) {
      difference += (made[i] - own[i]) * (made[i] - own[i]);
      squares += own[i] * own[i];
    }
    EXPECT_LT(std::sqrt(difference / squares), z.f32_result ? 1e-6 : 1e-3) << bits;
    EXPECT_EQ(product_on("late:5", z), made) << bits;
  }
}

namespace {

// A product of activations that lie side by side in one buffer: forward x and one of three narrow products of it, backward two gradients
// and the narrow products of both.
struct SideBySide {
  bool transposed, f32_result, scaled = false;
  int slot = 0;  // which of the narrow products a forward product takes
  int64_t rows = 40, packed_values = int64_t{1} << 40;
  static constexpr int64_t kCols = 304, kDepth = 96, kRank = 8;
  bool dense = false;  // true where the weight can be read in place
};

struct Made {
  std::vector<double> values, expected;
  int64_t products = 0;
  std::map<std::string, cuda::emulator::Counters> launches;
};

double to_bf16(double v) {
  const auto f = static_cast<float>(v);
  uint32_t u;
  std::memcpy(&u, &f, 4);
  u = (u + 0x7fff + (u >> 16 & 1)) & 0xffff0000u;
  float rounded;
  std::memcpy(&rounded, &u, 4);
  return rounded;
}

Made side_by_side_on(const std::string& behaviour, const SideBySide& z) {
  Device device(emulated_card(behaviour));
  constexpr int64_t kCols = SideBySide::kCols, kDepth = SideBySide::kDepth, kRank = SideBySide::kRank;
  const auto limits = std::exchange(cuda::emulated::product_limits(), {z.packed_values, 1000});
  const Buffer all(device, DType::kBF16, z.rows, 2 * kDepth + 3 * kRank, 2 * kDepth + 3 * kRank, Random(1));
  const List<float> scale(device, random_floats(kCols, 2));
  Buffer c(device, z.f32_result ? DType::kF32 : DType::kBF16, z.rows, kCols, kCols, Random(3));
  Product op;
  op.c = c.tensor();
  op.transposed = z.transposed;
  op.accumulate = z.f32_result;
  op.by_shape = true;
  if (z.scaled) op.column_scale = scale.data();
  Made made;
  for (int64_t i = 0; i < z.rows; i++)
    for (int64_t j = 0; j < kCols; j++) made.expected.push_back(0);
  std::vector<List<float>> weights;
  std::vector<DeviceBuffer> stored;
  weights.reserve(4);
  const auto term = [&](int64_t from, int64_t deep) {
    const bool in_place = z.dense && deep == kDepth;
    const float by = in_place ? 1.0f : 0.5f;
    const int64_t down = z.transposed ? kCols : deep, across = z.transposed ? deep : kCols;
    weights.emplace_back(device, random_floats(kCols * deep, 4 + static_cast<uint32_t>(from)));
    const List<float>& w = weights.back();
    Selection b{{w.data().as<const std::byte>(), DType::kF32, down, across}, down, across, nullptr, nullptr, by};
    if (in_place) {
      std::vector<uint16_t> rounded;
      for (size_t i = 0; i < w.size(); i++) {
        const auto f = static_cast<float>(to_bf16(w[i]));
        uint32_t u;
        std::memcpy(&u, &f, 4);
        rounded.push_back(static_cast<uint16_t>(u >> 16));
      }
      stored.push_back(device.backend().allocate(rounded.size() * 2));
      upload_now<uint16_t>(device.backend(), stored.back().data().as<uint16_t>(), rounded);
      b.stored = {stored.back().data(), DType::kBF16, down, across};
    }
    op.add(all.tensor().columns(from, deep), b);
    for (int64_t i = 0; i < z.rows; i++)
      for (int64_t j = 0; j < kCols; j++)
        for (int64_t k = 0; k < deep; k++)
          made.expected[i * kCols + j] += all.get(i, from + k) * to_bf16(by * w[z.transposed ? j * deep + k : k * kCols + j]);
  };
  term(0, kDepth);
  if (z.transposed) {
    term(kDepth + z.slot * kRank, kRank);  // behind it and in front of it lie values that are not part of this product
  } else {
    term(kDepth, kDepth);
    term(2 * kDepth, kRank);
    term(2 * kDepth + kRank, kRank);
  }
  for (int64_t i = 0; i < z.rows; i++)
    for (int64_t j = 0; j < kCols; j++) {
      double& e = made.expected[i * kCols + j];
      e = (z.scaled ? scale[j] : 1.0) * e + (op.accumulate ? c.get(i, j) : 0.0);
    }
  const int64_t before = products_made();
  {
    cuda::emulator::Counting counting;
    device.run(op);
    device.backend().synchronize();
    made.launches = counting.all();
  }
  made.products = products_made() - before;
  c.expect_untouched_outside();
  for (int64_t i = 0; i < z.rows; i++)
    for (int64_t j = 0; j < kCols; j++) made.values.push_back(c.get(i, j));
  cuda::emulated::product_limits() = limits;
  return made;
}

uint64_t launches(const Made& made, const std::string& kernel) {
  const auto at = made.launches.find(kernel);
  return at == made.launches.end() ? 0 : at->second.launches;
}

}  // namespace

// LoRA costs a product nothing but its own columns: one product, no pass over its sums, and a factor that is packed once.
TEST(Cublaslt, ActivationsSideBySideMakeOneProduct) {
  const WithLibrary library;
  for (int bits = 0; bits < 16; bits++) {
    SideBySide z{(bits & 1) != 0, (bits & 2) != 0, (bits & 4) != 0, (bits & 8) != 0 ? 2 : 0};
    if (!z.transposed && z.slot != 0) continue;
    const Made made = side_by_side_on("early", z);
    ErrorSum error;
    for (size_t i = 0; i < made.values.size(); i++) error.add(made.values[i], made.expected[i]);
    EXPECT_LT(error.relative(), z.f32_result ? 1e-6 : 3e-3) << bits;
    // A scale of columns takes its sums in slices of 128 columns, which WithLibrary asks for.
    const int64_t slices = z.scaled ? 3 : 1;
    EXPECT_EQ(made.products, slices) << bits;
    EXPECT_EQ(launches(made, "finish_product"), z.scaled ? slices : 0u) << bits;
    const uint64_t terms = z.transposed ? 2 : 4;
    EXPECT_EQ(launches(made, "pack"), terms) << bits;
    const auto values = static_cast<uint64_t>(SideBySide::kCols * (z.transposed ? z.kDepth + z.kRank : 2 * (z.kDepth + z.kRank)));
    const auto zeros = static_cast<uint64_t>(SideBySide::kCols * z.kRank * z.slot);
    EXPECT_EQ(made.launches.at("pack").global_bytes, values * 6 + zeros * 2) << bits << ": reads each f32 and writes each bf16 once";
    EXPECT_EQ(side_by_side_on("late:5", z).values, made.values) << bits;
    SideBySide sliced = z;
    sliced.packed_values = 1;
    EXPECT_EQ(side_by_side_on("early", sliced).values, made.values) << bits << ": slices of 128 columns";
  }
}

// To pack a weight that could be read in place costs four bytes for each of its values. It pays from 48 rows on, where each term of its own
// would read and write eight bytes of each sum.
TEST(Cublaslt, ActivationsSideBySideAreJoinedWhereItPays) {
  const WithLibrary library;
  for (const int64_t rows : {47, 48}) {
    SideBySide z{true, true};
    z.rows = rows;
    z.dense = true;
    const Made made = side_by_side_on("early", z);
    EXPECT_EQ(made.products, rows < 48 ? 2 : 1);
    ErrorSum error;
    for (size_t i = 0; i < made.values.size(); i++) error.add(made.values[i], made.expected[i]);
    EXPECT_LT(error.relative(), 1e-6);
  }
}

// The depths are not multiples of eight, like some vocabularies and ranks.
TEST(Cublaslt, TakesAnyDepth) {
  for (const bool transposed : {true, false}) {
    ProductCase z{transposed, true, false, false, true};
    z.depth = 99;
    z.rank = 5;
    const std::vector<double> own = product_on("early", z);
    const WithLibrary library;
    const int64_t before = products_made();
    const std::vector<double> made = product_on("early", z);
    EXPECT_GT(products_made(), before);
    for (size_t i = 0; i < own.size(); i++) ASSERT_NEAR(made[i], own[i], 2e-5) << i;
  }
}

// The product is wider than what a block's threads take at once.
TEST(Cublaslt, FinishesWideProductsInOneSlice) {
  ProductCase z{true, true, true, true, true};
  z.cols = 1168;
  z.rows = 3;
  const std::vector<double> own = product_on("early", z);
  const WithLibrary library;
  cuda::emulated::library_limits().sums = 1 << 20;
  const std::vector<double> made = product_on("early", z);
  for (size_t i = 0; i < own.size(); i++) ASSERT_NEAR(made[i], own[i], 1e-5) << i;
}

TEST(Cublaslt, IsLeftOutWhereItMayNotBeUsedOrHasNoAlgorithm) {
  const ProductCase plain{true, true, false, false, false};
  const auto own = [](ProductCase z) {
    const std::vector<double> expected = product_on("early", z);
    const WithLibrary library;
    const int64_t before = products_made();
    const bool same = product_on("early", z) == expected;
    return same && products_made() == before;
  };
  ProductCase in_f32 = plain, any_company = plain, unknown = plain;
  in_f32.type = DType::kF32;
  EXPECT_TRUE(own(in_f32)) << "plain fused multiply-adds, never TF32";
  any_company.by_shape = false;
  EXPECT_TRUE(own(any_company)) << "a row's bits must not depend on the others";
  unknown.rows = 333;
  EXPECT_TRUE(own(unknown)) << "nothing that sums in one piece";
  EXPECT_FALSE(own(plain));
}

// A whole session has other bits than with the own kernel, and stays within the plan of memory.
TEST(Cublaslt, ASessionIsAsLargeAsPlanned) {
  const auto model = light_model();
  const std::string own = digest_of_session("early");
  const WithLibrary library;
  const int64_t before = products_made();
  cuda::emulator::take_peak_bytes();
  const std::string made = digest_of_session("early");
  const auto counted = static_cast<double>(cuda::emulator::take_peak_bytes());
  EXPECT_GT(products_made(), before + 30);
  EXPECT_NE(made, own);
  TrainerOptions planned = library_options("early");
  planned.batch_size = 2;
  planned.sequence_length = 24;
  EXPECT_NEAR(static_cast<double>(plan_memory(model->config(), model->bytes(), LoraSpec{}, planned).total) / counted, 1.0, 0.05);
}

TEST(Cublaslt, ASessionHasTheSameBitsHoweverItsQueuesRun) {
  const WithLibrary library;
  const std::string made = digest_of_session("early");
  for (const char* behaviour : {"late", "late:7"}) EXPECT_EQ(digest_of_session(behaviour), made) << behaviour;
}

// Each projection is one product, forward and backward, with LoRA and without; lm_head makes the logits of both roles and takes their
// gradient back. No product has a last pass over its sums: what masks scale is scaled where it is read.
TEST(Cublaslt, AStepMakesOneProductOfEachProjection) {
  const WithLibrary library;
  cuda::emulated::library_limits().sums = 1 << 20;
  const auto model = light_model();
  const auto trainer = tiny_session(library_options("early"), model);
  change_state(*trainer, loosen_masks);
  const auto teacher = trainer->keep_teacher(trainer->export_snapshot());
  run(*trainer, segment(0, 1));
  trainer->use_teacher(teacher);
  run(*trainer, segment(1, 1));
  const int64_t before = products_made();
  cuda::emulator::Counting counting(cuda::emulator::Details::kLaunches);
  run(*trainer, segment(2, 1));
  const int64_t layers = model->config().layer_count;
  EXPECT_EQ(products_made() - before, layers * (7 + 7 + 4) + 3);
  EXPECT_FALSE(counting.all().contains("finish_product"));
}

// Masks move in every step, and each new shape would be a question to the library, which takes the host longer than a launch.
TEST(Cublaslt, IsAskedNothingNewWhereMasksMoveALittle) {
  const WithLibrary library;
  const auto model = light_model();
  const auto trainer = tiny_session(library_options("early"), model);
  const auto questions = [&](int64_t open_units) {
    StepProbe probe;
    probe.student = probe.teacher = open_masks(model->config());
    for (size_t i = 0; i < probe.student.intermediate.size(); i++)
      if (static_cast<int64_t>(i) % model->config().intermediate_size >= open_units) probe.student.intermediate[i] = 0.0f;
    probe.input_ids.assign(2 * 24, 7);
    const int64_t before = questions_asked();
    trainer->probe(probe, LossWeights{});
    return questions_asked() - before;
  };
  EXPECT_GT(questions(70), 0);
  for (const int64_t open : {65, 97, 128}) EXPECT_EQ(questions(open), 0) << open;
  EXPECT_GT(questions(129), 0) << "as wide as the intact model";
}

}  // namespace espalier::test
