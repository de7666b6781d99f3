#include "files/safetensors.h"

#include <cstring>

#include "test_files.h"

namespace espalier {
namespace {

using test::expect_error;

std::string file_of(const std::string& header, const std::string& data) {
  std::string out(8, '\0');
  for (int i = 0; i < 8; ++i) out[static_cast<size_t>(i)] = static_cast<char>(header.size() >> (8 * i));
  return out + header + data;
}

Safetensors parse_file(const std::string& bytes) {
  return parse_safetensors({reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size()}, ErrorCode::kModelCorrupt, "f.safetensors");
}

void expect_corrupt(const std::string& bytes, const std::string& field, const std::string& message) {
  expect_error(ErrorCode::kModelCorrupt, field, message, [&] { parse_file(bytes); });
}

TEST(Safetensors, WritesWhatItReads) {
  const std::vector<TensorSpec> specs = {
      {"b \"quoted\" \u00e9", TensorType::kF32, {2, 3}}, {"a", TensorType::kI64, {}}, {"z", TensorType::kBF16, {0, 5}}};
  std::string bytes = safetensors_header(specs, {{"format", "pt"}});
  EXPECT_EQ(bytes.size() % 8, 0u);
  for (int i = 0; i < 32; ++i) bytes += static_cast<char>(i);
  const Safetensors file = parse_file(bytes);
  EXPECT_EQ(file.metadata.at("format"), "pt");
  ASSERT_EQ(file.tensors.size(), 3u);
  EXPECT_EQ(file.tensors.at("b \"quoted\" \u00e9").shape, (std::vector<int64_t>{2, 3}));
  EXPECT_EQ(file.tensors.at("a").bytes[0], 24);
  EXPECT_EQ(file.tensors.at("a").elements(), 1);
  EXPECT_EQ(file.tensors.at("z").elements(), 0);
}

TEST(Safetensors, TheFrameOfTheFile) {
  expect_corrupt("", "f.safetensors", "starts with 8 bytes");
  expect_corrupt("1234567", "f.safetensors", "has 7 bytes");
  expect_corrupt(std::string(8, '\xff'), "f.safetensors", "at most 100000000");
  expect_corrupt(std::string("\x01\x00\x00\x00\x00\x00\x00\x00", 8), "f.safetensors", "truncated");
  expect_corrupt(file_of("", ""), "f.safetensors", "not valid JSON");
  expect_corrupt(file_of("[]", ""), "f.safetensors", "JSON object");
  expect_corrupt(file_of("{\"\xff\":{}}", ""), "f.safetensors", "not valid JSON");
  expect_corrupt(file_of("{}", "x"), "f.safetensors", "holds 1 bytes");
  expect_corrupt(file_of(R"({"__metadata__":{"a":1}})", ""), "f.safetensors", "must be a string");
  EXPECT_TRUE(parse_file(file_of("{}   ", "")).tensors.empty());
}

TEST(Safetensors, EachFieldOfATensor) {
  const std::string data(24, 'd');
  const auto tensor = [&](const std::string& body) { return file_of("{\"t\":{" + body + "}}", data); };
  const std::string good = R"("dtype":"F32","shape":[2,3],"data_offsets":[0,24])";
  EXPECT_EQ(parse_file(tensor(good)).tensors.at("t").elements(), 6);
  const std::string field = "f.safetensors:t";
  expect_corrupt(tensor(R"("dtype":"F33","shape":[2,3],"data_offsets":[0,24])"), field, "known are BOOL");
  expect_corrupt(tensor(R"("dtype":5,"shape":[2,3],"data_offsets":[0,24])"), field, "dtype must be");
  expect_corrupt(tensor(R"("shape":[2,3],"data_offsets":[0,24])"), field, "dtype must be");
  expect_corrupt(tensor(R"("dtype":"F32","shape":[2,-3],"data_offsets":[0,24])"), field, "non-negative");
  expect_corrupt(tensor(R"("dtype":"F32","shape":[2,3.0],"data_offsets":[0,24])"), field, "non-negative");
  expect_corrupt(tensor(R"("dtype":"F32","shape":6,"data_offsets":[0,24])"), field, "shape must be");
  expect_corrupt(tensor(R"("dtype":"F32","shape":[1,1,1,1,1,1,1,1,6],"data_offsets":[0,24])"), field, "at most 8");
  expect_corrupt(tensor(R"("dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,24])"), field, "larger than any file");
  expect_corrupt(tensor(R"("dtype":"F32","shape":[4611686018427387905,4],"data_offsets":[0,24])"), field, "larger than any file");
  expect_corrupt(tensor(R"("dtype":"F32","shape":[18446744073709551615],"data_offsets":[0,24])"), field, "non-negative");
  expect_corrupt(tensor(R"("dtype":"F32","shape":[2,3],"data_offsets":[0,25])"), field, "reach beyond the 24");
  expect_corrupt(tensor(R"("dtype":"F32","shape":[2,3],"data_offsets":[0,20])"), field, "hold 20 bytes, but shape [2, 3] of F32 needs 24");
  expect_corrupt(tensor(R"("dtype":"F32","shape":[2,3],"data_offsets":[24,0])"), field, "end before they begin");
  expect_corrupt(tensor(R"("dtype":"F32","shape":[2,3],"data_offsets":[-1,24])"), field, "non-negative");
  expect_corrupt(tensor(R"("dtype":"F32","shape":[2,3],"data_offsets":[0])"), field, "[begin, end]");
  expect_corrupt(tensor(R"("dtype":"F32","shape":[2,3])"), field, "[begin, end]");
  expect_corrupt(tensor(good + R"(,"more":1)"), field, "unknown key");
  expect_corrupt(tensor(good + R"(,"dtype":"F32")"), "f.safetensors", "twice");
  expect_corrupt(file_of(R"({"t":3})", ""), field, "must be an object");
}

TEST(Safetensors, TensorsNeitherOverlapNorLeaveGaps) {
  const auto two = [](const std::string& first, const std::string& second) {
    return file_of(
        R"({"a":{"dtype":"U8","shape":[4],"data_offsets":)" + first + R"(},"b":{"dtype":"U8","shape":[4],"data_offsets":)" + second + "}}",
        "01234567");
  };
  EXPECT_EQ(parse_file(two("[4,8]", "[0,4]")).tensors.at("a").bytes[0], '4');
  expect_corrupt(two("[0,4]", "[3,7]"), "f.safetensors:b", "neither overlap");
  expect_corrupt(two("[0,4]", "[0,4]"), "f.safetensors:b", "neither overlap");
  expect_corrupt(two("[1,5]", "[4,8]"), "f.safetensors:a", "begins at byte 1");
  const std::string one = R"({"dtype":"U8","shape":[1],"data_offsets":[0,1]})";
  expect_corrupt(file_of("{\"a\":" + one + ",\"a\":" + one + "}", "x"), "f.safetensors", "twice");
}

}  // namespace
}  // namespace espalier
