// The text that a run trains on: sources that are mixed by parts, and texts in files.
#include <filesystem>
#include <fstream>
#include <map>
#include <set>

#include "espalier/method/batch_order.h"
#include "files/sha256.h"
#include "files/small_models.h"
#include "step/step_helpers.h"
#include "step/token_rows.h"

namespace espalier::test {

using Sources = std::vector<SourceRows>;

TEST(Mixture, EverySourceHasItsPartOfAnyBeginning) {
  for (const Sources& sources : {Sources{{50, 700'000}, {9, 300'000}}, Sources{{3, 1}, {1000, 999'999}},
                                 Sources{{10, 200'000}, {20, 333'333}, {5, 333'333}, {1, 133'334}}}) {
    double all = 0;
    for (const SourceRows& source : sources) all += static_cast<double>(source.parts);
    std::vector<int64_t> counts(sources.size());
    const auto order = rows_in_order(7, 0, 5000, sources);
    for (size_t n = 0; n < order.size(); n++) {
      counts[order[n].source]++;
      for (size_t s = 0; s < sources.size(); s++) {
        const double due = static_cast<double>(n + 1) * static_cast<double>(sources[s].parts) / all;
        ASSERT_NEAR(static_cast<double>(counts[s]), due, static_cast<double>(sources.size()))
            << "source " << s << " of the first " << n + 1;
      }
    }
  }
}

TEST(Mixture, EverySourceGoesThroughEpochsOfItsOwn) {
  const Sources sources{{40, 600'000}, {7, 400'000}};
  std::map<size_t, std::vector<int64_t>> rows;
  for (const RowOfText& at : rows_in_order(3, 0, 700, sources)) rows[at.source].push_back(at.row);
  for (size_t s = 0; s < sources.size(); s++) {
    const auto size = static_cast<size_t>(sources[s].rows);
    for (size_t epoch = 0; (epoch + 1) * size <= rows[s].size(); epoch++) {
      const std::set<int64_t> seen(rows[s].begin() + static_cast<int64_t>(epoch * size),
                                   rows[s].begin() + static_cast<int64_t>((epoch + 1) * size));
      EXPECT_EQ(seen.size(), size) << "source " << s << ", epoch " << epoch;
      EXPECT_TRUE(*seen.begin() == 0 && *seen.rbegin() == sources[s].rows - 1);
    }
  }
}

TEST(Mixture, OnlyThePositionAndTheSeedCount) {
  const Sources sources{{40, 600'000}, {40, 399'999}, {8, 1}};
  const auto whole = rows_in_order(5, 0, 300, sources);
  for (const int64_t first : {0, 1, 17, 299}) EXPECT_EQ(rows_in_order(5, first, 1, sources)[0], whole[static_cast<size_t>(first)]);
  EXPECT_NE(rows_in_order(6, 0, 300, sources), whole);
  std::map<size_t, std::vector<int64_t>> rows;
  for (const RowOfText& at : whole) rows[at.source].push_back(at.row);
  EXPECT_NE(std::vector(rows[0].begin(), rows[0].begin() + 40), std::vector(rows[1].begin(), rows[1].begin() + 40)) << "of equal length";
}

TEST(Mixture, OneSourceIsReadAsItWasBeforeThereWereSeveral) {
  const Sources one{{1000, 1}};
  for (int64_t step = 0; step < 300; step += 13) {
    const std::vector<int64_t> rows = batch_rows(9, step, 8, 1000);
    const auto order = rows_in_order(9, step * 8, 8, one);
    for (size_t i = 0; i < rows.size(); i++) EXPECT_EQ(order[i], (RowOfText{0, rows[i]}));
  }
  // The order in which releases without sources read the rows. Runs of these releases must end in the same states.
  EXPECT_EQ(batch_rows(5, 0, 4, 18'576), (std::vector<int64_t>{10260, 1305, 12490, 12545}));
}

TEST(Mixture, ASourceWithoutARowOrAPartIsRefused) {
  expect_error(ErrorCode::kInvalidArgument, "data", "no row", [] { rows_in_order(1, 0, 1, Sources{{5, 1}, {0, 1}}); });
  expect_error(ErrorCode::kInvalidArgument, "data", "from 1 to 1000000", [] { rows_in_order(1, 0, 1, Sources{{5, 0}}); });
  expect_error(ErrorCode::kInvalidArgument, "data", "at most 1000000", [] { rows_in_order(1, 0, 1, Sources{{5, 600'000}, {5, 600'000}}); });
  expect_error(ErrorCode::kInvalidArgument, "data", "there must be a source", [] { rows_in_order(1, 0, 1, {}); });
}

class TextInFiles : public testing::Test {
 protected:
  std::filesystem::path folder = std::filesystem::path(testing::TempDir()) / "text_in_files";
  std::shared_ptr<const TokenData> text = random_tokens(256, 24 * 31);

  void SetUp() override { std::filesystem::create_directories(folder); }
  void TearDown() override { std::filesystem::remove_all(folder); }

  TokenFile file(const std::string& name, int64_t first, int64_t count) {
    const std::vector<uint32_t> words = text->words(first, count);
    const std::span bytes(reinterpret_cast<const uint8_t*>(words.data()), words.size() * 4);
    const std::string path = folder / name;
    std::ofstream(path, std::ios::binary).write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
    return {path, sha256_hex(bytes), count};
  }
};

TEST_F(TextInFiles, TrainsToTheSameBitsAsInMemory) {
  const auto model = load_model(tiny_model());
  TrainerOptions options;
  options.dtype = ComputeDType::kF32;
  const auto in_memory = tiny_session(options, model), in_files = tiny_session(options, model);
  in_memory->set_data(text);
  // Some rows lie across two files.
  in_files->set_data(token_files({file("a", 0, 100), file("b", 100, 1), file("c", 101, text->size() - 101)}));
  for (Trainer* trainer : {in_memory.get(), in_files.get()}) run(*trainer, segment(0, 3));
  EXPECT_EQ(digest_of(*in_files), digest_of(*in_memory));
}

TEST_F(TextInFiles, MixesWithATextInMemory) {
  const TrainingText mixed({{text, 500'000}, {token_files({file("a", 0, 240)}), 500'000}});
  EXPECT_EQ(mixed.row_count(24), 31 + 10);
  const TokenRows rows = token_rows(mixed, 1, 0, 40, 24);
  EXPECT_EQ(rows.ids.size(), 40 * 24);
  EXPECT_EQ(rows.targets[23], -1);
  EXPECT_EQ(rows.targets[22], rows.ids[23]);
}

TEST_F(TextInFiles, AFileThatIsNotWhatWasRecordedIsRefused) {
  const TokenFile good = file("a", 0, 100);
  const auto refused = [](const TokenFile& one, const std::string& why) {
    expect_error(ErrorCode::kStateCorrupt, "data", why, [&] { token_files({one}); });
  };
  EXPECT_EQ(token_files({good})->size(), 100);
  refused({good.path, good.digest, 99}, "has 400 bytes, not 396");
  refused({good.path + "-gone", good.digest, 100}, "No such file");
  refused({good.path, std::string(64, '0'), 100}, "its digest is " + good.digest);
  file("a", 1, 100);  // the file is replaced
  refused(good, "its digest is");
}

TEST_F(TextInFiles, AFileThatBecomesShorterIsAnErrorAndNoCrash) {
  const auto tokens = token_files({file("a", 0, 100)});
  EXPECT_EQ(tokens->words(90, 10), text->words(90, 10));
  std::filesystem::resize_file(folder / "a", 200);
  expect_error(ErrorCode::kIo, "data", "became shorter", [&] { tokens->words(90, 10); });
}

}  // namespace espalier::test
