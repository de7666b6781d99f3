// The command line of a benchmark: flags, and options with one value each.
#pragma once
#include <limits>
#include <map>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include "espalier/base/error.h"

namespace espalier {

class CommandLine {
 public:
  // flags: the options that have no value.
  CommandLine(int argc, char** argv, const std::set<std::string>& flags) {
    for (int i = 1; i < argc; i++) {
      const std::string name = argv[i];
      const bool is_flag = flags.contains(name);
      if (!is_flag && i + 1 >= argc) throw Error(ErrorCode::kInvalidArgument, name, "needs a value");
      given_[name] = is_flag ? "" : argv[++i];
    }
  }

  bool flag(const std::string& name) { return find(name) != nullptr; }
  std::string text(const std::string& name, const std::string& otherwise) {
    const std::string* value = find(name);
    return value == nullptr ? otherwise : *value;
  }
  std::string dtype() {
    const std::string name = text("--dtype", "bf16");
    if (name != "f32" && name != "bf16") throw Error(ErrorCode::kInvalidArgument, "--dtype", "must be f32 or bf16");
    return name;
  }
  double number(const std::string& name, double otherwise, double low, double high = std::numeric_limits<double>::max()) {
    const std::vector<double> numbers = list(name, {otherwise}, low, high);
    if (numbers.size() != 1) throw Error(ErrorCode::kInvalidArgument, name, "must be one number");
    return numbers[0];
  }
  int64_t whole(const std::string& name, int64_t otherwise, int64_t low = 1) {
    const double value = number(name, static_cast<double>(otherwise), static_cast<double>(low), 1 << 30);
    if (value != static_cast<double>(static_cast<int64_t>(value))) throw Error(ErrorCode::kInvalidArgument, name, "must be a whole number");
    return static_cast<int64_t>(value);
  }
  // Reads one or several numbers that are separated by commas.
  std::vector<double> list(const std::string& name, std::vector<double> otherwise, double low, double high) {
    const std::string* value = find(name);
    if (value == nullptr) return otherwise;
    std::vector<double> numbers;
    std::istringstream in(*value + ",");
    for (std::string item; std::getline(in, item, ',');) {
      char* end = nullptr;
      const double number = std::strtod(item.c_str(), &end);
      if (item.empty() || *end != '\0' || !(number >= low && number <= high)) {
        std::ostringstream text;
        text << "must be one or several numbers from " << low << " to " << high << ", with commas between";
        throw Error(ErrorCode::kInvalidArgument, name, text.str());
      }
      numbers.push_back(number);
    }
    return numbers;
  }

  // Refuses all options that were not asked for. Call it after every option that the program knows was asked for.
  void refuse_others() const {
    for (const auto& [name, value] : given_) {
      if (known_.contains(name)) continue;
      std::string all;
      for (const std::string& one : known_) all += " " + one;
      throw Error(ErrorCode::kInvalidArgument, name, "unknown; known are" + all);
    }
  }

 private:
  const std::string* find(const std::string& name) {
    known_.insert(name);
    const auto found = given_.find(name);
    return found == given_.end() ? nullptr : &found->second;
  }

  std::map<std::string, std::string> given_;
  std::set<std::string> known_;
};

}  // namespace espalier
