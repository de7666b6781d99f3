// States in slices: written, mapped as one, found damaged; and lengths above 4 GiB, in files of holes.
#include "files/sliced_file.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <array>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <vector>

#include "espalier/method/train_state.h"
#include "test_files.h"

namespace espalier {
namespace {

using test::expect_error;
using test::TempFolder;

std::vector<uint8_t> content(size_t size) {
  std::vector<uint8_t> bytes(size);
  for (size_t i = 0; i < size; ++i) bytes[i] = static_cast<uint8_t>(i * 7 + i / 251);
  return bytes;
}

std::string write(const std::string& folder, std::span<const uint8_t> bytes, uint64_t slice_bytes, size_t piece) {
  SliceWriter writer(folder, slice_bytes);
  for (size_t at = 0; at < bytes.size(); at += piece) writer.write(bytes.subspan(at, std::min(piece, bytes.size() - at)));
  return writer.finish();
}

TEST(SlicedFile, IsMappedAsOneAndHasTheDigestOfItsList) {
  const TempFolder folder;
  const std::vector<uint8_t> bytes = content(3 * 4096 + 17);
  const std::string path = folder.path().string() + "/state";
  const std::string digest = write(path, bytes, 4096, 1000);
  EXPECT_EQ(digest, write("", bytes, 4096, 5000));  // the same without files, whatever the pieces
  const MappedState state(path, ErrorCode::kStateCorrupt, "state_file");
  EXPECT_TRUE(std::ranges::equal(state.bytes(), bytes));
  EXPECT_EQ(state.digest(), digest);
  std::ifstream list(path + "/list");
  EXPECT_EQ(sha256_hex(std::vector<uint8_t>(std::istreambuf_iterator<char>(list), {})), digest);
}

TEST(SlicedFile, PlainFileIsMappedToo) {
  const TempFolder folder;
  const std::vector<uint8_t> bytes = content(5000);
  std::ofstream(folder.path().string() + "/state", std::ios::binary).write(reinterpret_cast<const char*>(bytes.data()), 5000);
  const MappedState state(folder.path().string() + "/state", ErrorCode::kStateCorrupt, "state_file");
  EXPECT_TRUE(std::ranges::equal(state.bytes(), bytes));
  EXPECT_EQ(state.digest(), sha256_hex(bytes));
}

TEST(SlicedFile, DamageIsNamed) {
  const TempFolder folder;
  const std::vector<uint8_t> bytes = content(3 * 4096);
  const std::string path = folder.path().string() + "/state", slice = path + "/" + sha256_hex(std::span(bytes).first(4096));
  write(path, bytes, 4096, 4096);
  std::fstream(slice, std::ios::binary | std::ios::in | std::ios::out).write("x", 1);
  const MappedState state(path, ErrorCode::kStateCorrupt, "state_file");
  expect_error(ErrorCode::kStateCorrupt, "state_file", "has bytes with digest", [&] { state.digest(); });
  const auto map = [&] { MappedState(path, ErrorCode::kStateCorrupt, "state_file"); };
  std::filesystem::resize_file(slice, 100);
  expect_error(ErrorCode::kStateCorrupt, "state_file", "is no file of the 4096 bytes", map);
  std::filesystem::remove(slice);
  expect_error(ErrorCode::kStateCorrupt, "state_file", "cannot map", map);
  for (const char* list : {"", "espalier slices 1\n", "espalier slices 1\nabc 4096\n", "espalier slices 2\n"}) {
    std::ofstream(path + "/list") << list;
    expect_error(ErrorCode::kStateCorrupt, "state_file", "the list of slices", map);
  }
}

TEST(SlicedFile, WriterThatDoesNotFinishLeavesNothing) {
  const TempFolder folder;
  const std::string path = folder.path().string() + "/state";
  {
    SliceWriter writer(path, 4096);
    writer.write(content(10'000));
  }
  EXPECT_FALSE(std::filesystem::exists(path));
  std::filesystem::create_directory(path);
  expect_error(ErrorCode::kIo, "state_file", "cannot make the folder", [&] { SliceWriter(path, 4096); });
  EXPECT_TRUE(std::filesystem::exists(path));
}

// Three slices of 2 GiB that are holes but for a few bytes behind the first 4 GiB.
TEST(SlicedFile, IsMappedBeyondFourGiB) {
  const TempFolder folder;
  std::vector<StateSlice> slices;
  for (const char* name : {"0", "1", "2"}) {
    slices.push_back({std::string(64, *name), kSliceBytesMax});
    const std::string path = folder.path().string() + "/" + slices.back().digest;
    std::ofstream(path).close();
    std::filesystem::resize_file(path, kSliceBytesMax);
  }
  std::ofstream(folder.path().string() + "/list") << slice_list(slices);
  std::fstream last(folder.path().string() + "/" + slices[2].digest, std::ios::binary | std::ios::in | std::ios::out);
  last.seekp(static_cast<std::streamoff>(kSliceBytesMax) - 5);
  last.write("there", 5);
  last.close();
  const MappedState state(folder.path().string(), ErrorCode::kStateCorrupt, "state_file");
  ASSERT_EQ(state.bytes().size(), uint64_t{6} << 30);
  EXPECT_EQ(std::memcmp(state.bytes().last(5).data(), "there", 5), 0);
}

// A state of 12 GB, of which only pieces are made.
TEST(StateInPieces, PiecesOfALargeStateComeFromTheirPlaces) {
  ModelConfig config = parse_model_config(test::read_file(test::tiny_model() + "/config.json"));
  config.hidden_size = 4096;
  config.vocab_size = 250'000;
  OpenWidths widths;
  widths.hidden = config.hidden_size;
  for (const LayerShape& l : config.layers) widths.layers.push_back({l.heads, l.kv_heads, l.intermediate});
  const StateLayout layout(config, widths);
  const StateBytes file(layout, {});
  ASSERT_GT(file.size(), uint64_t{12'000'000'000});
  const auto offset_of = [](StateValues, int64_t offset, std::span<float> to) {
    for (float& value : to) value = static_cast<float>(offset++ % 1'000'003);
  };
  // The pieces on both sides of 4 GiB and of 8 GiB are those of one piece there.
  for (const uint64_t middle : {uint64_t{1} << 32, uint64_t{1} << 33}) {
    alignas(8) std::array<uint8_t, 4096> whole, halves;
    file.read(middle - 2048, whole, offset_of);
    file.read(middle - 2048, std::span(halves).first(2048), offset_of);
    file.read(middle, std::span(halves).last(2048), offset_of);
    EXPECT_EQ(whole, halves);
    EXPECT_NE(whole, (std::array<uint8_t, 4096>{}));
  }
}

}  // namespace
}  // namespace espalier
