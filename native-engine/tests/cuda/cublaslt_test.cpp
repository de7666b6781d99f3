// Products by cuBLASLt, which a stand-in computes on the emulator: how the library is loaded, when it is used, its layouts and algorithms.
#include "cublaslt.h"

#include <dlfcn.h>

#include <cstdlib>

#include "backend_ops/op_fixture.h"
#include "cuda_emulator/device_memory.h"
#include "cuda_emulator/emulated_kind.h"
#include "cuda_emulator/emulator.h"
#include "cuda_kind.h"
#include "espalier/memory_plan.h"
#include "product.h"
#include "step/step_helpers.h"

namespace espalier::test {

namespace {

using cuda::emulated::Cublaslt;

constexpr const char* kStandIn = ESPALIER_STAND_IN_CUBLASLT;

// Queues run(argument) on the emulator. Its threads come in warps; only the first thread calls the function.
void enqueue(void* stream, void (*run)(void*), void* argument) {
  cuda::emulated::add_launch(static_cast<cuda::emulated::StreamHandle>(stream), {"cublaslt", {1}, {32}, 0}, [=] {
    if (cuda::emulator::thread_index.x == 0) run(argument);
  });
}

template <class F>
F of_stand_in(const char* name) {
  void* library = dlopen(kStandIn, RTLD_NOW | RTLD_LOCAL);
  return library ? reinterpret_cast<F>(dlsym(library, name)) : nullptr;
}

int64_t products_made() { return of_stand_in<int64_t (*)()>("stand_in_products")(); }

// While this object lives, new backends have this library, use it for products of any size, and finish sums for 128 columns at a time.
class WithLibrary {
 public:
  explicit WithLibrary(std::shared_ptr<const Cublaslt> library)
      : library_(std::exchange(cuda::emulated::cublaslt(), std::move(library))),
        limits_(std::exchange(cuda::emulated::library_limits(), {1, 1, 1})) {
    of_stand_in<void (*)(void (*)(void*, void (*)(void*), void*))>("stand_in_run_by")(enqueue);
  }
  WithLibrary() : WithLibrary(std::make_shared<const Cublaslt>(std::vector<std::string>{"/no/such/library", kStandIn})) {}
  ~WithLibrary() {
    cuda::emulated::cublaslt() = library_;
    cuda::emulated::library_limits() = limits_;
  }

 private:
  std::shared_ptr<const Cublaslt> library_;
  cuda::emulated::LibraryLimits limits_;
};

struct ProductCase {
  bool transposed, f32_result, accumulate, scaled, lora;
  DType type = DType::kBF16;
  int64_t rows = 40;
  bool by_shape = true;
  int64_t cols = 304, depth = 96, rank = 8;
};

// Computes a product of one or two terms and returns c.
std::vector<double> product_on(const std::string& behaviour, const ProductCase& z) {
  Device device(emulated_card(behaviour));
  const int64_t cols = z.cols, depth = z.depth, rank = z.rank;
  const Buffer a(device, z.type, z.rows, depth, depth, Random(1)), narrow(device, z.type, z.rows, rank, rank, Random(2));
  const List<float> b(device, random_floats(cols * depth, 3)), lora(device, random_floats(cols * rank, 4)),
      scale(device, random_floats(cols, 5));
  Buffer c(device, z.f32_result ? DType::kF32 : z.type, z.rows, cols, cols, Random(6));
  Product op;
  op.c = c.tensor();
  op.transposed = z.transposed;
  op.accumulate = z.accumulate;
  op.by_shape = z.by_shape;
  if (z.scaled) op.column_scale = scale.data();
  const auto term = [&](const Buffer& x, const List<float>& values, int64_t deep) {
    const int64_t down = z.transposed ? cols : deep, across = z.transposed ? deep : cols;
    op.add(x.tensor(), {{values.data().as<const std::byte>(), DType::kF32, down, across}, down, across, nullptr, nullptr, 0.5f});
  };
  term(a, b, depth);
  if (z.lora) term(narrow, lora, rank);
  device.run(op);
  c.expect_untouched_outside();
  std::vector<double> values;
  for (int64_t i = 0; i < z.rows; i++)
    for (int64_t j = 0; j < cols; j++) values.push_back(c.get(i, j));
  return values;
}

}  // namespace

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
  setenv("STAND_IN_CUBLASLT_REFUSES", "1", 1);
  const int64_t before = products_made();
  const ProductCase plain{true, true, false, false, false};
  const std::vector<double> made = product_on("early", plain);
  unsetenv("STAND_IN_CUBLASLT_REFUSES");
  EXPECT_EQ(products_made(), before);
  const std::string why = "own products: cuBLASLt 13.1.2 can't be used: cuBLASLt: cublasLtCreate: status 1";
  EXPECT_EQ(cuda::emulated::cuda_kind().devices()[0].products, why);
  EXPECT_EQ(cuda::emulated::cublaslt()->fingerprint(), "own products");
  EXPECT_EQ(product_on("early", plain), made) << "for the rest of the process, whatever the library does now";
  EXPECT_EQ(products_made(), before);
}

// Sessions that began with the library go on with it, so a second session that can't start it must be refused: it would get other bits.
TEST(Cublaslt, ThatWasStartedOnceMustStartAgain) {
  const WithLibrary library;
  const Device first(emulated_card("early"));
  setenv("STAND_IN_CUBLASLT_REFUSES", "1", 1);
  EXPECT_THROW(Device(emulated_card("early")), Error);
  unsetenv("STAND_IN_CUBLASLT_REFUSES");
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

// The depths are no multiples of eight, like some vocabularies and ranks.
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

namespace {

TrainerOptions options_of(const char* behaviour) {
  TrainerOptions options;
  options.backend = emulated_card(behaviour);
  return options;
}

std::string digest_of_session(const char* behaviour) {
  const auto trainer = tiny_session(options_of(behaviour), load_model(tiny_model()));
  change_state(*trainer, loosen_masks);
  run(*trainer, segment(0, 2));
  return digest_of(*trainer);
}

}  // namespace

// A whole session has other bits than with the own kernel, and stays within the plan of memory.
TEST(Cublaslt, ASessionIsAsLargeAsPlanned) {
  const auto model = load_model(tiny_model());
  const std::string own = digest_of_session("early");
  const WithLibrary library;
  const int64_t before = products_made();
  cuda::emulator::take_peak_bytes();
  const std::string made = digest_of_session("early");
  const auto counted = static_cast<double>(cuda::emulator::take_peak_bytes());
  EXPECT_GT(products_made(), before + 30);
  EXPECT_NE(made, own);
  TrainerOptions planned = options_of("early");
  planned.batch_size = 2;
  planned.sequence_length = 24;
  EXPECT_NEAR(static_cast<double>(plan_memory(model->config(), model->bytes(), LoraSpec{}, planned).total) / counted, 1.0, 0.05);
}

TEST(Cublaslt, ASessionHasTheSameBitsHoweverItsQueuesRun) {
  const WithLibrary library;
  const std::string made = digest_of_session("early");
  for (const char* behaviour : {"late", "late:7"}) EXPECT_EQ(digest_of_session(behaviour), made) << behaviour;
}

}  // namespace espalier::test
