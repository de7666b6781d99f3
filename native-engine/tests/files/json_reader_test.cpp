#include "files/json_reader.h"

#include "files/safetensors.h"
#include "test_files.h"

namespace espalier {
namespace {

using test::expect_error;

Json read(const std::string& text, const JsonLimits& limits = kTableLimits, const std::atomic<bool>& cancel = kNeverCancelled) {
  return parse_json(text, ErrorCode::kModelCorrupt, "f.json", limits, cancel);
}

std::string repeated(const std::string& part, int times) {
  std::string text;
  for (int i = 0; i < times; ++i) text += (i > 0 ? "," : "") + part;
  return text;
}

TEST(JsonReader, ReadsWhatTheLibraryReads) {
  const std::string text =
      R"( {"a": [1, -2, 18446744073709551615, 0.5, 1e3, true, false, null, "x\u00e9\n", [], {}, [[{"b": {"c": []}}]]], "": {"a": 1}, "z": 0} )";
  EXPECT_EQ(read(text), Json::parse(text));
  for (const char* whole : {"1", "\"text\"", "null", "[]", "{}", "-0.0"}) EXPECT_EQ(read(whole), Json::parse(whole));
}

TEST(JsonReader, RefusesWhatIsNoJson) {
  for (const char* text :
       {"",  " ",         "{",   "[",  "[1",       "[1,]", "{\"a\"}", "{\"a\":}", "{\"a\":1,}",  "{,}",    "[1 2]", "1 2",    "]",
        "}", "{\"a\":1]", "nul", "\"", "\"\xff\"", "01",   "+1",      "1e999",    "\"\\ud800\"", "\"\n\"", "{1:2}", "// x\n1"}) {
    expect_error(ErrorCode::kModelCorrupt, "f.json", "not valid JSON", [&] { read(text); });
  }
}

TEST(JsonReader, RefusesAKeyThatStandsTwiceInOneObjectOnly) {
  for (const char* text :
       {R"({"a":1,"a":1})", R"({"x":[{"a":{"b":1},"c":2,"a":[]}]})", R"({"a":{"a":1},"a":null})", R"({"":1,"\u0061":1,"a":1})"}) {
    expect_error(ErrorCode::kModelCorrupt, "f.json", "twice", [&] { read(text); });
  }
  EXPECT_EQ(read(R"([{"a":1},{"a":{"a":1}}])").size(), 2u);
}

TEST(JsonReader, GoesDownSixtyFourLevels) {
  const auto nested = [](size_t levels, const char* open, const char* close) {
    std::string text;
    for (size_t i = 0; i < levels; ++i) text += open;
    text += "1";
    for (size_t i = 0; i < levels; ++i) text += close;
    return text;
  };
  for (const auto& [open, close] : {std::pair("[", "]"), std::pair("{\"a\":", "}")}) {
    read(nested(65, open, close));
    expect_error(ErrorCode::kModelCorrupt, "f.json", "deeper than 64", [&] { read(nested(66, open, close)); });
    expect_error(ErrorCode::kModelCorrupt, "f.json", "deeper than 64", [&] { read(nested(1'000'000, open, close)); });
  }
}

TEST(JsonReader, HoldsToItsLimits) {
  EXPECT_EQ(read("[" + repeated("0", 9) + "]", {10, 10}).size(), 9u);
  expect_error(ErrorCode::kFileTooLarge, "f.json", "more than 10 values", [] { read("[" + repeated("0", 10) + "]", {10, 10}); });
  expect_error(ErrorCode::kFileTooLarge, "f.json", "more than 10 values", [] { read("[" + repeated("[[]]", 5) + "]", {10, 10}); });
  EXPECT_EQ(read(R"([{"a":0,"b":0},{"a":0,"b":0}])", {10, 2}).size(), 2u);
  expect_error(ErrorCode::kFileTooLarge, "f.json", "more than 2 keys", [] { read(R"([{"a":0,"b":{},"c":0}])", {10, 2}); });
}

// A reader in which the end of a value costs time for all values before it would need hours for these documents.
TEST(JsonReader, ReadsWideDocuments) {
  std::string objects = "{";
  for (int i = 0; i < 300'000; ++i) objects += (i > 0 ? ",\"k" : "\"k") + std::to_string(i) + "\":{\"v\":[]}";
  EXPECT_EQ(read(objects + "}").size(), 300'000u);
  EXPECT_EQ(read("[" + repeated("[{}]", 1'000'000) + "]").size(), 1'000'000u);
}

TEST(JsonReader, EndsWhenItIsCancelled) {
  const std::atomic<bool> cancelled{true};
  expect_error(ErrorCode::kCancelled, "f.json", "stopped", [&] { read("[" + repeated("0", 100'000) + "]", kTableLimits, cancelled); });
}

std::string header_of(int tensors) {
  std::string json = "{";
  for (int i = 0; i < tensors; ++i) {
    json += (i > 0 ? ",\"t" : "\"t") + std::to_string(i) + R"(":{"dtype":"F32","shape":[0],"data_offsets":[0,0]})";
  }
  json += "}";
  std::string out(8, '\0');
  for (int i = 0; i < 8; ++i) out[static_cast<size_t>(i)] = static_cast<char>(json.size() >> (8 * i));
  return out + json;
}

TEST(JsonReader, ReadsTheTensorsOfAFileUpToALimit) {
  const auto parse = [](const std::string& file) {
    return parse_safetensors({reinterpret_cast<const uint8_t*>(file.data()), file.size()}, ErrorCode::kModelCorrupt, "f.safetensors");
  };
  EXPECT_EQ(parse(header_of(1 << 18)).tensors.size(), size_t{1} << 18);
  expect_error(ErrorCode::kFileTooLarge, "f.safetensors", "more than 262144 keys", [&] { parse(header_of((1 << 18) + 1)); });
}

}  // namespace
}  // namespace espalier
