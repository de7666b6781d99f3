// product_bench [--device D] [--rows LIST] [--cols LIST] [--depth N] [--repeats N]
// Times bf16 products c [rows, cols] = a b by a card's own kernel and by cuBLASLt, with b as it is and transposed, and compares the
// results. It prints a JSON line for each product. Results that differ by more than rounding end the program with an error. At the end it
// tells from how many rows and columns on the library should be used: with these numbers the least time is lost against the quicker of the
// two (kLeastRows and kLeastCols of product_library.cu). Without the library the program measures nothing and returns 3.
#include <cmath>
#include <cstdio>
#include <iostream>

#include "command_line.h"
#include "cublaslt.h"
#include "device/registry.h"
#include "files/number_formats.h"
#include "peaks.h"

namespace {

using namespace espalier;
using namespace espalier::bench;

// The seconds of a product.
struct Measured {
  int64_t rows, cols;
  double own, library;
};

std::vector<int64_t> sizes(CommandLine& line, const char* name, const std::vector<double>& usual) {
  std::vector<int64_t> whole;
  for (const double v : line.list(name, usual, 8, 65536)) whole.push_back(static_cast<int64_t>(v) / 8 * 8);
  std::sort(whole.begin(), whole.end());
  return whole;
}

// Returns the seconds of one product: the best of some runs. Each run queues several products, so that a launch hides behind the product
// before it.
double seconds_of(Backend& backend, const Product& product, int64_t repeats) {
  constexpr int kTogether = 10;
  double best = 1e30;
  for (int64_t run = 0; run < repeats; run++) {
    const auto start = Clock::now();
    for (int i = 0; i < kTogether; i++) backend.run(product);
    backend.synchronize();
    best = std::min(best, seconds_since(start) / kTogether);
  }
  return best;
}

// Results are rounded to bf16, so two orders of addition may differ in the last bit of some values.
constexpr double kMostDifference = 4e-3;

std::vector<float> result_of(Backend& backend, const Tensor& c) {
  std::vector<uint16_t> bits(static_cast<size_t>(c.rows * c.cols));
  backend.download(bits.data(), c.data, bits.size() * sizeof(uint16_t));
  std::vector<float> values;
  for (const uint16_t b : bits) values.push_back(bf16_to_f32(b));
  return values;
}

// Returns ||a - b|| / ||b||. A NaN counts as an infinite difference.
double relative_difference(const std::vector<float>& a, const std::vector<float>& b) {
  double difference = 0, size = 0;
  for (size_t i = 0; i < a.size(); i++) {
    const double d = static_cast<double>(a[i]) - b[i];
    difference += std::isnan(d) ? INFINITY : d * d;
    size += static_cast<double>(b[i]) * b[i];
  }
  return std::sqrt(difference / size);
}

// The least rows and columns from which the library is taken, and the loss by this choice: the mean of its time divided by the quicker
// one's, minus 1.
struct Crossover {
  int64_t rows = 0, cols = 0;  // 0: the library is never taken
  double lost = 0;
};

Crossover best_crossover(const std::vector<Measured>& all) {
  const auto lost = [&](int64_t rows, int64_t cols) {
    double sum = 0;
    for (const Measured& m : all)
      sum += (rows > 0 && m.rows >= rows && m.cols >= cols ? m.library : m.own) / std::min(m.own, m.library) - 1;
    return sum / static_cast<double>(all.size());
  };
  Crossover best{0, 0, lost(0, 0)};
  for (const Measured& m : all)
    if (const double here = lost(m.rows, m.cols); here < best.lost) best = {m.rows, m.cols, here};
  return best;
}

void run(int argc, char** argv) {
  CommandLine line(argc, argv, {});
  const BackendSpec spec = resolve_backend(parse_device(line.text("--device", "auto"), 0));
  const std::vector<int64_t> rows = sizes(line, "--rows", {16, 64, 128, 256, 512, 1024, 2048, 4096, 8192}),
                             cols = sizes(line, "--cols", {16, 64, 128, 256, 512, 1024, 4096, 11008});
  const int64_t depth = line.whole("--depth", 4096) / 8 * 8, repeats = line.whole("--repeats", 7);
  line.refuse_others();
  const std::unique_ptr<Backend> backend = make_backend(spec);
  // A library that could not be started for this backend has been replaced.
  const std::shared_ptr<const cuda::ESPALIER_TARGET::Cublaslt> library = cuda::ESPALIER_TARGET::cublaslt();
  if (!library->usable()) {
    std::cerr << "product_bench: nothing to compare: " << library->description() << "\n";
    std::exit(3);
  }
  // The library takes every product that it can compute.
  cuda::ESPALIER_TARGET::library_limits().rows = cuda::ESPALIER_TARGET::library_limits().cols = 1;
  const int64_t most_rows = rows.back(), most_cols = cols.back();
  const DeviceBuffer a = backend->allocate(most_rows * depth * 2), b = backend->allocate(most_cols * depth * 2),
                     c = backend->allocate(most_rows * most_cols * 2);
  for (const auto& [buffer, values] : {std::pair{&a, most_rows * depth}, {&b, most_cols * depth}}) {
    upload_now<uint16_t>(*backend, buffer->data().as<uint16_t>(), random_bf16(static_cast<size_t>(values)));
  }
  for (const bool transposed : {true, false}) {
    std::vector<Measured> all;
    for (const int64_t r : rows)
      for (const int64_t n : cols) {
        Product product;
        product.c = {c.data(), DType::kBF16, r, n, n};
        product.transposed = transposed;
        const int64_t down = transposed ? n : depth, across = transposed ? depth : n;
        product.add({a.data(), DType::kBF16, r, depth, depth}, {{b.data(), DType::kBF16, down, across}, down, across, nullptr, nullptr});
        const double own = seconds_of(*backend, product, repeats);
        const std::vector<float> expected = result_of(*backend, product.c);
        product.by_shape = true;
        const double by_library = seconds_of(*backend, product, repeats);
        const double difference = relative_difference(result_of(*backend, product.c), expected);
        if (!(difference < kMostDifference))
          throw Error(ErrorCode::kInternal, "backend",
                      "a product by the library differs from the own kernel's by " + std::to_string(difference));
        all.push_back({r, n, own, by_library});
        const double teraflops = 2e-12 * static_cast<double>(r * n * depth);
        std::printf(
            "{\"rows\":%lld,\"cols\":%lld,\"depth\":%lld,\"transposed\":%s,\"own_s\":%.3g,\"own_tflops\":%.4g,\"library_s\":%.3g,"
            "\"library_tflops\":%.4g,\"library_difference\":%.3g}\n",
            static_cast<long long>(r), static_cast<long long>(n), static_cast<long long>(depth), transposed ? "true" : "false", own,
            teraflops / own, by_library, teraflops / by_library, difference);
      }
    const Crossover from = best_crossover(all);
    std::printf("{\"transposed\":%s,\"library_from_rows\":%lld,\"library_from_cols\":%lld,\"time_lost\":%.3g,\"library\":\"%s\"}\n",
                transposed ? "true" : "false", static_cast<long long>(from.rows), static_cast<long long>(from.cols), from.lost,
                library->description().c_str());
  }
}

}  // namespace

int main(int argc, char** argv) {
  try {
    run(argc, argv);
    return 0;
  } catch (const espalier::Error& e) {
    std::cerr << "product_bench: " << espalier::error_code_name(e.code()) << " " << e.field() << ": " << e.what() << "\n";
  } catch (const std::exception& e) {
    std::cerr << "product_bench: " << e.what() << "\n";
  }
  return 1;
}
