// Faults that the emulator must find: kernels that are wrong on a card, even if they happen to give the right result on one. This file is
// compiled like the kernels.
#include <gtest/gtest.h>

#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <initializer_list>
#include <iostream>
#include <random>

#include "counters.h"
#include "device_memory.h"
#include "instructions.h"
#include "reduce.h"
#include "tensor_cores/tensor_core.h"

namespace espalier::cuda::ESPALIER_TARGET {

using emulator::Behaviour;

// A buffer of words on an emulated device with the given behaviour.
class Emulated {
 public:
  explicit Emulated(const Behaviour& behaviour, int64_t words = 256)
      : words_(words), address_((behave(behaviour), take_device_memory(words * 4))) {}
  ~Emulated() { give_back_device_memory(address_, words_ * 4); }
  uint32_t* words() { return reinterpret_cast<uint32_t*>(kernel_address(address_, words_ * 4)); }
  uint64_t address() const { return address_; }
  template <class... P, class... A>
  std::vector<uint32_t> run(dim3 grid, dim3 block, void (*kernel)(P...), A... args) {
    Stream stream;
    stream.clear(address_, words_ * 4);
    launch_kernel("test", kernel, grid, block, 0, stream.handle(), words(), args...);
    std::vector<uint32_t> values(words_);
    stream.download(reinterpret_cast<std::byte*>(values.data()), address_, words_ * 4);
    stream.synchronize();
    return values;
  }

 private:
  int64_t words_;
  uint64_t address_;
};

// Returns `before` + 1 x b[k] for the given products; the other products are zeros.
float sum_of(emulator::TensorCore core, float before, std::initializer_list<float> products, float factor = 1.0f) {
  emulator::Factors ones{}, values{};
  std::fill_n(ones.values, 16, factor);
  std::copy(products.begin(), products.end(), values.values);
  ones.set_exponents();
  values.set_exponents();
  return add_products(core, before, ones, values);
}

const Behaviour kEarly{}, kLate{true, 99};

template <class F>
std::string error_of(F&& f) {
  try {
    f();
  } catch (const Error& e) {
    return e.what();
  }
  return "none";
}
#define EXPECT_FAILS(statement, text) EXPECT_NE(error_of([&] { statement; }).find(text), std::string::npos) << error_of([&] { statement; })

// While it adds, an A100 keeps one bit below f32's last bit for a block of eight products, an H100 two bits for a block of sixteen. A
// result keeps neither.
TEST(TensorCore, CutsOffWhatLiesBelowTheLargestExponent) {
  using emulator::TensorCore;
  constexpr float kHalf = 0x1p-24f, kQuarter = 0x1p-25f, kLast = 0x1p-23f;  // a half and a quarter of the last bit of 1, and that bit
  EXPECT_EQ(sum_of(TensorCore::kA100, 1, {kHalf, kHalf}), 1 + kLast);
  EXPECT_EQ(sum_of(TensorCore::kA100, 1, {kHalf, kHalf, kHalf}), 1 + kLast) << "to the nearest would be more";
  EXPECT_EQ(sum_of(TensorCore::kA100, 1, {kQuarter, kQuarter, kQuarter, kQuarter}), 1);
  EXPECT_EQ(sum_of(TensorCore::kH100, 1, {kQuarter, kQuarter, kQuarter, kQuarter}), 1 + kLast);
  EXPECT_EQ(sum_of(TensorCore::kA100, -1, {-kHalf, -kHalf, -kHalf}), -1 - kLast) << "towards zero";
  EXPECT_EQ(sum_of(TensorCore::kA100, 1, {kHalf, 0, 0, 0, 0, 0, 0, 0, -1}), 0) << "the second block begins with 1";
  EXPECT_EQ(sum_of(TensorCore::kH100, 1, {kHalf, 0, 0, 0, 0, 0, 0, 0, -1}), kHalf) << "all sixteen are one block";
}

TEST(TensorCore, HoldsSmallAndGreatValuesAndWhatIsNoNumber) {
  for (const auto core : {emulator::TensorCore::kA100, emulator::TensorCore::kH100}) {
    EXPECT_EQ(sum_of(core, 0, {}), 0);
    EXPECT_EQ(sum_of(core, 0x1p-149f, {0x1p-133f}), 0x1p-133f + 0x1p-149f);
    EXPECT_EQ(sum_of(core, 0x1p126f, {0x1p126f}), 0x1p127f);
    EXPECT_EQ(sum_of(core, 0x1p127f, {0x1p127f}), INFINITY);
    EXPECT_EQ(sum_of(core, 1, {-INFINITY}), -INFINITY);
    EXPECT_TRUE(std::isnan(sum_of(core, 1, {NAN})));
    EXPECT_TRUE(std::isnan(sum_of(core, INFINITY, {-INFINITY})));
    EXPECT_TRUE(std::isnan(sum_of(core, 1, {INFINITY}, 0.0f)));
  }
}

// The emulator adds a row of a tile at once where no exponent is extreme. Some tiles here have zeros, extreme values or both.
TEST(TensorCore, AddsATileAsItAddsEachOfItsSums) {
  std::mt19937 random(21);
  const auto values = [&] { return 2.0f * static_cast<float>(random() >> 8) * 0x1p-24f - 1.0f; };
  for (const auto core : {emulator::TensorCore::kA100, emulator::TensorCore::kH100})
    for (const float spread : {0.0f, 2.0f, 12.0f, 40.0f, 62.0f, 100.0f}) {
      const auto next = [&] {
        const float v = std::ldexp(values(), static_cast<int>(spread * values()));
        const float bf16 = std::bit_cast<float>(std::bit_cast<uint32_t>(v) & 0xffff0000u);
        return values() > 0.6f ? 0.0f : bf16;
      };
      for (int tile = 0; tile < 50; tile++) {
        emulator::Factors rows[emulator::kTileRows], columns[emulator::kTileColumns];
        float sums[emulator::kTileRows][emulator::kTileColumns];
        for (auto* side : {rows, columns})
          for (int i = 0; i < (side == rows ? emulator::kTileRows : emulator::kTileColumns); i++)
            std::generate_n(side[i].values, emulator::kTileDepth, next);
        for (auto& row : sums) std::generate_n(row, emulator::kTileColumns, [&] { return next() * (1.0f + 0x1p-20f); });
        sums[0][0] = -0.0f;
        if (tile % 10 == 1) rows[3].values[5] = INFINITY, rows[4].values[6] = NAN;
        if (tile % 10 == 2) std::fill_n(columns[2].values, emulator::kTileDepth, 0.0f);
        if (tile % 10 == 3) sums[5][6] = -INFINITY;
        if (tile % 10 >= 4) std::fill_n(rows[7].values, emulator::kTileDepth, 0.0f), std::fill_n(rows[8].values + 8, 8, 0.0f);
        if (tile % 10 == 5) columns[1].values[9] = INFINITY;
        if (tile % 10 >= 8)
          for (auto& column : columns) std::fill_n(column.values, emulator::kTileDepth, 0.0f);
        if (tile % 10 == 9) rows[2].values[3] = INFINITY;
        for (auto& row : rows) row.set_exponents();
        for (auto& column : columns) column.set_exponents();
        float expected[emulator::kTileRows][emulator::kTileColumns];
        for (int i = 0; i < emulator::kTileRows; i++)
          for (int j = 0; j < emulator::kTileColumns; j++) expected[i][j] = add_products(core, sums[i][j], rows[i], columns[j]);
        add_tile(core, sums, rows, columns);
        ASSERT_EQ(std::memcmp(sums, expected, sizeof sums), 0) << "spread " << spread << ", tile " << tile;
      }
    }
}

__global__ void number_kernel(uint32_t* out) {
  const unsigned i = blockIdx.x * blockDim.x + threadIdx.x;
  store(out + i, i * 3);
}
TEST(Emulator, EveryThreadOfEveryBlockRunsOnce) {
  for (const Behaviour& behaviour : {kEarly, kLate}) {
    const auto got = Emulated(behaviour).run(dim3(4), dim3(64), number_kernel);
    for (uint32_t i = 0; i < 256; i++) EXPECT_EQ(got[i], i * 3);
  }
}

__global__ void half_barrier_kernel(uint32_t* out) {
  if (threadIdx.x < 40) __syncthreads();
  out[threadIdx.x] = 1;
}
__global__ void two_barriers_kernel(uint32_t*) {
  if (threadIdx.x < 32)
    __syncthreads();
  else
    __syncthreads();
}
TEST(Emulator, ABarrierThatNotAllThreadsReachFails) {
  EXPECT_FAILS(Emulated(kEarly).run(dim3(1), dim3(64), half_barrier_kernel), "40 of 64 threads wait at emulator_test.cpp");
  EXPECT_FAILS(Emulated(kLate).run(dim3(1), dim3(64), two_barriers_kernel), "threads wait at different barriers");
}

__global__ void half_warp_kernel(uint32_t* out) {
  if (threadIdx.x < 16) out[threadIdx.x] = shuffle_xor(threadIdx.x, 1);
}
__global__ void short_warp_kernel(uint32_t* out) { out[threadIdx.x] = ballot(true); }
TEST(Emulator, AShuffleThatNotAllLanesReachFails) {
  EXPECT_FAILS(Emulated(kEarly).run(dim3(1), dim3(32), half_warp_kernel), "16 of 32 lanes of warp 0 wait at");
  EXPECT_FAILS(Emulated(kEarly).run(dim3(1), dim3(48), short_warp_kernel), "lanes that the block has not");
}

template <bool Correct>
__global__ void reverse_kernel(uint32_t* out) {
  SIMT_SHARED(uint32_t, space, 128);
  space[threadIdx.x] = threadIdx.x;
  if (Correct) __syncthreads();
  out[threadIdx.x] = space[127 - threadIdx.x];
}
TEST(Emulator, AMissingBarrierShowsInTheOrders) {
  EXPECT_EQ(Emulated(kEarly).run(dim3(1), dim3(128), reverse_kernel<true>), Emulated(kLate).run(dim3(1), dim3(128), reverse_kernel<true>));
  EXPECT_NE(Emulated(kEarly).run(dim3(1), dim3(128), reverse_kernel<false>),
            Emulated(kLate).run(dim3(1), dim3(128), reverse_kernel<false>));
}

template <int Pending>
__global__ void copy_kernel(uint32_t* out, const uint32_t* from) {
  SIMT_SHARED(uint32_t, space, 256);
  copy_async16(space + threadIdx.x * 4, from + threadIdx.x * 4);
  copy_async_commit();
  copy_async_wait<Pending>();
  for (int i = 0; i < 4; i++) out[threadIdx.x * 4 + i] = space[threadIdx.x * 4 + i];
  copy_async_wait<0>();
}
__global__ void forgotten_copy_kernel(uint32_t*, const uint32_t* from) {
  SIMT_SHARED(uint32_t, space, 256);
  copy_async16(space + threadIdx.x * 4, from + threadIdx.x * 4);
}
TEST(Emulator, ACopyThatNobodyWaitedForIsNotThere) {
  for (const Behaviour& behaviour : {kEarly, kLate}) {
    Emulated from(behaviour), to(behaviour);
    from.run(dim3(4), dim3(64), number_kernel);
    EXPECT_EQ(to.run(dim3(1), dim3(64), copy_kernel<0>, from.words())[5], 15u);
    EXPECT_EQ(to.run(dim3(1), dim3(64), copy_kernel<1>, from.words())[5], behaviour.late ? 0xffffffffu : 15u);
  }
  Emulated from(kLate), to(kLate);
  EXPECT_FAILS(to.run(dim3(1), dim3(64), forgotten_copy_kernel, from.words()), "copies that no wait covers");
}

__global__ void uninitialised_kernel(uint32_t* out) {
  SIMT_SHARED(uint32_t, space, 32);
  out[threadIdx.x] = space[threadIdx.x];
  space[threadIdx.x] = 7;
}
TEST(Emulator, SharedMemoryIsPoisonedForEachBlock) {
  EXPECT_EQ(Emulated(kEarly, 32).run(dim3(3), dim3(32), uninitialised_kernel), std::vector<uint32_t>(32, 0xffffffffu));
}

__global__ void shared_kernel(uint32_t* out) {
  SIMT_SHARED(uint32_t, fixed, 64);
  shared_store(fixed + threadIdx.x, 1);
  shared_store(dynamic_shared<uint32_t>() + threadIdx.x, 1);
  store(out + threadIdx.x, 1);
}
TEST(Emulator, ABlockTakesNoMoreSharedMemoryThanItsCardHas) {
  const Cards before = list_cards();
  for (const auto& [major, minor, most] :
       {std::array<int, 3>{8, 0, 163}, {8, 6, 99}, {8, 7, 163}, {8, 9, 99}, {9, 0, 227}, {10, 0, 227}, {12, 0, 99}}) {
    Cards cards = before;
    cards.cards[0].major = major;
    cards.cards[0].minor = minor;
    show_cards(cards);
    Emulated device(kEarly);
    const auto take = [&](uint32_t dynamic) {
      Stream stream;
      launch_kernel("test", shared_kernel, dim3(1), dim3(32), dynamic, stream.handle(), device.words());
    };
    const uint32_t all = static_cast<uint32_t>(most) * 1024, fixed = 64 * sizeof(uint32_t);
    EXPECT_EQ(error_of([&] { take(all - fixed); }), "none") << major << "." << minor;
    EXPECT_FAILS(take(all - fixed + 16), "more shared memory, static and dynamic");
    EXPECT_FAILS(take(all + 16), "more dynamic shared memory than the launch may take");
  }
  show_cards(before);
}

__global__ void write_kernel(uint32_t* out, int64_t at) { out[at] = 1; }
__global__ void misaligned_kernel(uint32_t* out) { store(reinterpret_cast<uint64_t*>(out + 1), 1); }
TEST(EmulatorDeathTest, MemoryOfOthersIsOutOfReach) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(Emulated(kEarly).run(dim3(1), dim3(1), write_kernel, 256), "");
  EXPECT_DEATH(*reinterpret_cast<volatile uint32_t*>(Emulated(kEarly).address()) = 1, "");
  Emulated device(kEarly);
  EXPECT_FAILS(kernel_address(device.address() + 4, 1024), "no part of one live buffer");
  EXPECT_FAILS(device.run(dim3(1), dim3(1), misaligned_kernel), "no multiple of 8");
}

// The test runs in a process of its own, since the card is lost for the whole process.
TEST(EmulatorDeathTest, ALostCardNamesTheKernelsSinceTheLastWait) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  const auto lose = [] {
    const std::filesystem::path faults = std::filesystem::temp_directory_path() / ("faults-" + std::to_string(getpid()));
    std::filesystem::create_directory(faults);
    setenv("ESPALIER_EMULATED_FAULTS", faults.c_str(), 1);
    behave(kLate);
    Emulated device(kLate);
    Stream stream;
    const auto launch = [&](const char* name) {
      launch_kernel(name, number_kernel, dim3(4), dim3(64), 0, stream.handle(), device.words());
    };
    launch("before");
    stream.synchronize();
    launch("first");
    launch("second");
    launch("second");
    std::ofstream(faults / "second");
    std::string said = error_of([&] { stream.synchronize(); });
    if (std::filesystem::exists(faults / "second")) said = "the fault was not met";
    std::filesystem::remove(faults);
    if (error_of([&] { launch("later"); }) == "none") said += ", and the card is there again";
    std::cerr << said << "\n";
    std::_Exit(3);
  };
  EXPECT_EXIT(lose(), testing::ExitedWithCode(3), "kernel second was made to fail.*Launched since the last wait: first, second \\(2\\)\n");
}

TEST(Emulator, WorkOfTwoStreamsIsOrderedByEventsOnly) {
  behave(kLate);
  Emulated device(kLate);
  Stream first, second;
  Event cleared;
  std::vector<uint32_t> values(256, 9), seen(256), early(256);
  first.upload(device.address(), reinterpret_cast<const std::byte*>(values.data()), 1024);
  first.record(cleared);
  second.download(reinterpret_cast<std::byte*>(early.data()), device.address(), 1024);
  second.wait_for(cleared);
  second.download(reinterpret_cast<std::byte*>(seen.data()), device.address(), 1024);
  second.synchronize();
  EXPECT_EQ(early, std::vector<uint32_t>(256, 0xffffffffu)) << "nothing ordered this download after the upload";
  EXPECT_EQ(seen, values);
  first.synchronize();
}

__global__ void stride_kernel(uint32_t* out, int64_t stride) {
  SIMT_SHARED(uint32_t, space, 1024);
  shared_store(space + threadIdx.x * stride, 1);
  store(out + threadIdx.x * stride, 1);
}
TEST(Emulator, CountsSectorsAndBankConflicts) {
  for (const auto [stride, sectors, conflicts] : {std::array<uint64_t, 3>{1, 4, 0}, {2, 8, 1}, {8, 32, 7}, {17, 32, 0}}) {
    Emulated device(kEarly, 1024);
    emulator::Counting counting;
    device.run(dim3(2), dim3(32), stride_kernel, stride);
    const emulator::Counters& c = counting.of("test");
    EXPECT_EQ(c.blocks, 2u);
    EXPECT_EQ(c.global_requests, 2u);
    EXPECT_EQ(c.global_sectors, 2 * sectors) << "stride " << stride;
    EXPECT_EQ(c.global_bytes, 2 * 128u);
    EXPECT_EQ(c.bank_conflicts, 2 * conflicts) << "stride " << stride;
  }
}
TEST(Emulator, CountsLaunchesAloneWhereNoMoreIsAskedFor) {
  Emulated device(kEarly, 1024);
  emulator::Counting counting(emulator::Details::kLaunches);
  for (int i = 0; i < 3; i++) device.run(dim3(2), dim3(32), stride_kernel, int64_t{1});
  EXPECT_EQ(counting.of("test").launches, 3u);
  EXPECT_EQ(counting.of("test").global_bytes, 0u);
}

}  // namespace espalier::cuda::ESPALIER_TARGET
