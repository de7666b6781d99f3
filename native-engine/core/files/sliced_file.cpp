#include "files/sliced_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <filesystem>
#include <memory>
#include <string_view>
#include <utility>

#include "files/new_file.h"

namespace espalier {
namespace {

constexpr std::string_view kFirstLine = "espalier slices 1\n";
constexpr size_t kListBytesMax = 16 << 20;
constexpr size_t kDigestLength = 64;

bool is_digest(std::string_view text) {
  return text.size() == kDigestLength && std::ranges::all_of(text, [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); });
}

// The code of a write that failed with this errno.
ErrorCode write_error(int error) { return error == ENOSPC || error == EDQUOT ? ErrorCode::kDiskFull : ErrorCode::kIo; }

std::vector<StateSlice> read_list(std::string_view text, const std::string& field) {
  const auto corrupt = [&](const std::string& what) { throw Error(ErrorCode::kStateCorrupt, field, "the list of slices " + what); };
  if (!text.starts_with(kFirstLine)) corrupt("does not begin with its format");
  text.remove_prefix(kFirstLine.size());
  std::vector<StateSlice> slices;
  while (!text.empty()) {
    const size_t end = text.find('\n');
    const std::string_view line = text.substr(0, end);
    if (end == std::string_view::npos || line.size() < kDigestLength + 2 || line[kDigestLength] != ' ')
      corrupt("has a line of another form");
    StateSlice slice{std::string(line.substr(0, kDigestLength)), 0};
    const std::string_view number = line.substr(kDigestLength + 1);
    const auto [rest, problem] = std::from_chars(number.data(), number.data() + number.size(), slice.bytes);
    const bool whole = problem == std::errc() && rest == number.data() + number.size();
    if (!is_digest(slice.digest) || !whole || slice.bytes == 0 || slice.bytes > kSliceBytesMax) corrupt("has a line of another form");
    slices.push_back(std::move(slice));
    text.remove_prefix(end + 1);
  }
  if (slices.empty()) corrupt("names no slice");
  for (size_t i = 0; i + 1 < slices.size(); ++i)
    if (slices[i].bytes % kPageBytes != 0) corrupt("has a slice that does not end at a page");
  return slices;
}

}  // namespace

std::string slice_list(const std::vector<StateSlice>& slices) {
  std::string text(kFirstLine);
  for (const StateSlice& slice : slices) text += slice.digest + " " + std::to_string(slice.bytes) + "\n";
  return text;
}

SliceWriter::SliceWriter(std::string folder, uint64_t slice_bytes) : folder_(std::move(folder)), slice_bytes_(slice_bytes) {
  if (!folder_.empty() && ::mkdir(folder_.c_str(), 0700) != 0) {
    const int error = errno;
    const std::string path = std::exchange(folder_, "");  // the folder is not ours to remove
    throw Error(write_error(error), "state_file", "cannot make the folder " + path + ": " + std::strerror(error));
  }
}

SliceWriter::~SliceWriter() {
  if (file_ >= 0) ::close(file_);
  std::error_code ignored;
  if (!finished_ && !folder_.empty()) std::filesystem::remove_all(folder_, ignored);
}

void SliceWriter::fail(const std::string& what) const {
  const int error = errno;
  throw Error(write_error(error), "state_file", "cannot " + what + " in " + folder_ + ": " + std::strerror(error));
}

void SliceWriter::write(std::span<const uint8_t> bytes) {
  while (!bytes.empty()) {
    if (used_ == 0 && !folder_.empty()) {
      file_ = ::open((folder_ + "/slice").c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
      if (file_ < 0) fail("make a file");
    }
    const auto part = bytes.first(std::min<uint64_t>(bytes.size(), slice_bytes_ - used_));
    hash_.update(part);
    if (file_ >= 0 && !write_all(file_, part)) fail("write a slice of a state");
    used_ += part.size();
    bytes = bytes.subspan(part.size());
    if (used_ == slice_bytes_) end_slice();
  }
}

void SliceWriter::end_slice() {
  slices_.push_back({std::exchange(hash_, Sha256()).finish_hex(), std::exchange(used_, 0)});
  if (file_ < 0) return;
  if (::close(std::exchange(file_, -1)) != 0) fail("write a slice of a state");
  if (::rename((folder_ + "/slice").c_str(), (folder_ + "/" + slices_.back().digest).c_str()) != 0) fail("name a slice of a state");
}

std::string SliceWriter::finish() {
  if (used_ > 0) end_slice();
  const std::string list = slice_list(slices_);
  const std::span<const uint8_t> text(reinterpret_cast<const uint8_t*>(list.data()), list.size());
  if (!folder_.empty()) {
    file_ = ::open((folder_ + "/" + kSliceListName).c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (file_ < 0 || !write_all(file_, text) || ::close(std::exchange(file_, -1)) != 0) fail("write the list of a state's slices");
  }
  finished_ = true;
  return sha256_hex(text);
}

MappedState::MappedState(const std::string& path, ErrorCode not_found, const std::string& field) : field_(field) {
  struct stat info{};
  if (::stat(path.c_str(), &info) == 0 && S_ISDIR(info.st_mode)) {
    map_slices(path);
  } else {
    plain_.emplace(path, not_found, field);
    bytes_ = plain_->bytes();
  }
}

void MappedState::map_slices(const std::string& folder) {
  list_ = read_text_file(folder + "/" + kSliceListName, kListBytesMax, ErrorCode::kStateCorrupt, field_);
  slices_ = read_list(list_, field_);
  uint64_t whole = 0;
  for (const StateSlice& slice : slices_) whole += slice.bytes;
  void* const place = ::mmap(nullptr, whole, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (place == MAP_FAILED) throw Error(ErrorCode::kIo, field_, "cannot reserve addresses for " + folder + ": " + std::strerror(errno));
  place_.reset(place, [whole](void* mapped) { ::munmap(mapped, whole); });
  bytes_ = {static_cast<const uint8_t*>(place), whole};
  uint64_t at = 0;
  for (const StateSlice& slice : slices_) {
    map_slice(folder + "/" + slice.digest, slice, static_cast<uint8_t*>(place) + at);
    at += slice.bytes;
  }
}

void MappedState::map_slice(const std::string& path, const StateSlice& slice, void* place) const {
  const int file = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);  // O_NONBLOCK: a FIFO must not block
  struct stat info{};
  const bool there = file >= 0 && ::fstat(file, &info) == 0;
  const bool whole = there && S_ISREG(info.st_mode) && static_cast<uint64_t>(info.st_size) == slice.bytes;
  const bool mapped = whole && ::mmap(place, slice.bytes, PROT_READ, MAP_PRIVATE | MAP_FIXED, file, 0) != MAP_FAILED;
  const int error = errno;
  if (file >= 0) ::close(file);
  if (there && !whole)
    throw Error(ErrorCode::kStateCorrupt, field_,
                path + " is no file of the " + std::to_string(slice.bytes) + " bytes that the list names");
  if (!mapped)
    throw Error(error == ENOENT ? ErrorCode::kStateCorrupt : ErrorCode::kIo, field_, "cannot map " + path + ": " + std::strerror(error));
}

std::string MappedState::digest() const {
  if (list_.empty()) return sha256_hex(bytes());
  uint64_t at = 0;
  for (const StateSlice& slice : slices_) {
    const std::string found = sha256_hex(bytes().subspan(at, slice.bytes));
    if (found != slice.digest) throw Error(ErrorCode::kStateCorrupt, field_, "slice " + slice.digest + " has bytes with digest " + found);
    at += slice.bytes;
  }
  return sha256_hex({reinterpret_cast<const uint8_t*>(list_.data()), list_.size()});
}

}  // namespace espalier
