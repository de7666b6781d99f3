// Paths and temporary folders for the tests of files.
#pragma once
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iterator>
#include <string>

#include "espalier/base/error.h"

namespace espalier::test {

namespace fs = std::filesystem;

// The check of a card may run on another machine than the one that compiled it, and says where the repository lies there.
inline fs::path repository() {
  const char* moved = std::getenv("ESPALIER_REPOSITORY");
  return moved ? fs::path(moved) : fs::path(ESPALIER_SOURCE_DIR).parent_path();
}
inline std::string tiny_model() { return (repository() / "testdata/models/gqa-random-tiny").string(); }
inline std::string factbook_model() { return (repository() / "examples/models/factbook-llama-3m").string(); }

inline std::string read_file(const fs::path& path) {
  std::ifstream in(path, std::ios::binary);
  EXPECT_TRUE(in.good()) << path;
  return {std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
}

inline void write_file(const fs::path& path, const std::string& bytes) {
  std::ofstream out(path, std::ios::binary | std::ios::trunc);
  out.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  ASSERT_TRUE(out.good()) << path;
}

class TempFolder {
 public:
  TempFolder() {
    std::string pattern = (fs::temp_directory_path() / "espalier-test-XXXXXX").string();
    if (::mkdtemp(pattern.data()) == nullptr) throw std::runtime_error("mkdtemp");
    path_ = pattern;
  }
  ~TempFolder() {
    std::error_code ec;
    fs::remove_all(path_, ec);
  }
  TempFolder(const TempFolder&) = delete;
  TempFolder& operator=(const TempFolder&) = delete;
  fs::path operator/(const std::string& name) const { return path_ / name; }
  const fs::path& path() const { return path_; }

 private:
  fs::path path_;
};

// Runs `work`, which must throw an Error with this code. The error's field and message must contain these texts.
inline void expect_error(ErrorCode code, const std::string& field, const std::string& message, const std::function<void()>& work) {
  try {
    work();
  } catch (const Error& e) {
    EXPECT_STREQ(error_code_name(e.code()), error_code_name(code)) << e.what();
    EXPECT_NE(e.field().find(field), std::string::npos) << "field " << e.field() << ": " << e.what();
    EXPECT_NE(std::string(e.what()).find(message), std::string::npos) << e.what();
    return;
  }
  ADD_FAILURE() << "no error; expected " << error_code_name(code) << " about " << field << ": " << message;
}

}  // namespace espalier::test
