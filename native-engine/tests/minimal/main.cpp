// Runs the tests that --gtest_filter names, and reports how each ended in the words of GoogleTest.
#include <chrono>

#include "gtest/gtest.h"

namespace {

bool matches(const char* pattern, const char* text) {
  if (*pattern == '\0') return *text == '\0';
  if (*pattern == '*') return matches(pattern + 1, text) || (*text != '\0' && matches(pattern, text + 1));
  return *text != '\0' && (*pattern == '?' || *pattern == *text) && matches(pattern + 1, text + 1);
}

// The filter "A*:B*-C*" chooses names that match any pattern before the minus and no pattern behind it.
bool chosen(const std::string& filter, const std::string& name) {
  const size_t minus = filter.find('-');
  const auto any = [&](std::string patterns) {
    std::istringstream in(std::move(patterns));
    for (std::string one; std::getline(in, one, ':');)
      if (matches(one.c_str(), name.c_str())) return true;
    return false;
  };
  const std::string wanted = filter.substr(0, minus);
  return any(wanted.empty() ? "*" : wanted) && (minus == std::string::npos || !any(filter.substr(minus + 1)));
}

}  // namespace

int testing::run_all(int argc, char** argv) {
  std::string filter = "*";
  bool list = false;
  for (int i = 1; i < argc; i++) {
    const std::string argument = argv[i];
    if (argument.starts_with("--gtest_filter=")) filter = argument.substr(15);
    list |= argument == "--gtest_list_tests";
  }
  for (const auto& instantiate : instantiations()) instantiate();
  int passed = 0, skipped = 0;
  std::vector<std::string> failed;
  for (const Case& test : cases()) {
    if (!chosen(filter, test.name)) continue;
    if (list) {
      std::cout << test.name << "\n";
      continue;
    }
    const auto start = std::chrono::steady_clock::now();
    running() = {};
    try {
      test.run();
    } catch (const std::exception& error) {
      running().failed = true;
      std::cout << test.name << " threw: " << error.what() << "\n";
    }
    const auto ms = std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::steady_clock::now() - start).count();
    const Running& end = running();
    std::cout << (end.failed    ? "[  FAILED  ] "
                  : end.skipped ? "[  SKIPPED ] "
                                : "[       OK ] ")
              << test.name << " (" << ms << " ms)" << std::endl;
    if (end.failed)
      failed.push_back(test.name);
    else
      (end.skipped ? skipped : passed)++;
  }
  if (list) return 0;
  std::cout << passed << " passed, " << skipped << " skipped, " << failed.size() << " failed\n";
  for (const std::string& name : failed) std::cout << "  failed: " << name << "\n";
  return failed.empty() && passed > 0 ? 0 : 1;  // tests that are all skipped prove nothing
}

int main(int argc, char** argv) { return testing::run_all(argc, argv); }
