#include "files/sha256.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

#include "espalier/method/train_state.h"

namespace espalier {
namespace {

std::string hex_of(const std::string& text) { return sha256_hex({reinterpret_cast<const uint8_t*>(text.data()), text.size()}); }

// The examples of FIPS 180-4.
TEST(Sha256, KnownDigests) {
  EXPECT_EQ(hex_of(""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT_EQ(hex_of("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(hex_of("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq"),
            "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
  EXPECT_EQ(hex_of(std::string(1'000'000, 'a')), "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

TEST(Sha256, PiecesGiveTheDigestOfTheWhole) {
  std::string text;
  for (int i = 0; i < 1000; ++i) text += static_cast<char>(i * 7 + i / 31);
  const std::string whole = hex_of(text);
  for (size_t piece = 1; piece <= 200; ++piece) {
    Sha256 hash;
    for (size_t at = 0; at < text.size(); at += piece) hash.update(text.data() + at, std::min(piece, text.size() - at));
    ASSERT_EQ(hash.finish_hex(), whole) << "in pieces of " << piece;
  }
}

TEST(Sha256, BothCompressionsAgree) {
  if (!sha256_detail::has_sha_extensions()) GTEST_SKIP() << "this CPU has no SHA extensions: not supported";
  std::vector<uint8_t> blocks(64 * 37);
  for (size_t i = 0; i < blocks.size(); ++i) blocks[i] = static_cast<uint8_t>(i * i + 13 * i);
  for (const size_t count : {size_t{0}, size_t{1}, size_t{2}, size_t{37}}) {
    uint32_t a[8] = {1, 2, 3, 4, 0xffffffff, 6, 7, 8}, b[8] = {1, 2, 3, 4, 0xffffffff, 6, 7, 8};
    sha256_detail::compress_portable(a, blocks.data(), count);
    sha256_detail::compress_sha_extensions(b, blocks.data(), count);
    EXPECT_TRUE(std::equal(a, a + 8, b)) << count;
  }
}

}  // namespace
}  // namespace espalier
