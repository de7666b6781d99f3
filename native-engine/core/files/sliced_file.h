// A large state is kept in slices: a folder that holds files below 2 GiB, each named by its digest, and a list that names them in their
// order. The digest of the list is the digest of the whole. A state that is no larger than one slice is one plain file.
#pragma once
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "espalier/base/error.h"
#include "files/mapped_file.h"
#include "files/sha256.h"

namespace espalier {

// The bytes of a slice, except of the last one. Readers map slices one behind the other, so only a multiple of the page size is allowed.
constexpr uint64_t kSliceBytes = uint64_t{256} << 20;
constexpr uint64_t kSliceBytesMax = uint64_t{1} << 31;
constexpr uint64_t kPageBytes = 4096;
constexpr uint64_t kStatePieceBytes = uint64_t{16} << 20;  // the piece in which a state in slices is made
constexpr const char* kSliceListName = "list";

struct StateSlice {
  std::string digest;
  uint64_t bytes = 0;
};

// Returns the text of the list: a line that names the format, then for each slice a line with its digest and its bytes.
std::string slice_list(const std::vector<StateSlice>& slices);

// Writes a folder of slices, piece by piece.
class SliceWriter {
 public:
  // An empty folder writes nothing: only the digests are made. Otherwise the folder must not exist yet. Each call throws Error(kDiskFull)
  // where no room is left, and Error(kIo) where the operating system refuses a write for another reason.
  SliceWriter(std::string folder, uint64_t slice_bytes);
  ~SliceWriter();  // removes what it wrote, unless it was finished
  SliceWriter(const SliceWriter&) = delete;
  SliceWriter& operator=(const SliceWriter&) = delete;

  void write(std::span<const uint8_t> bytes);
  std::string finish();  // returns the digest of the list

 private:
  void end_slice();
  [[noreturn]] void fail(const std::string& what) const;

  std::string folder_;
  uint64_t slice_bytes_;
  std::vector<StateSlice> slices_;
  Sha256 hash_;
  uint64_t used_ = 0;  // the bytes of the slice under way
  int file_ = -1;
  bool finished_ = false;
};

// The bytes of a plain file, or of a folder of slices, mapped read-only into memory as one.
class MappedState {
 public:
  // Throws Error(not_found, field) where nothing is at the path, Error(kStateCorrupt, field) where slices do not fit their list, and
  // Error(kIo, field) where a file can't be read.
  MappedState(const std::string& path, ErrorCode not_found, const std::string& field);
  MappedState(const MappedState&) = delete;
  MappedState& operator=(const MappedState&) = delete;

  std::span<const uint8_t> bytes() const { return bytes_; }
  // Reads all bytes and returns their digest. Throws Error(kStateCorrupt, field) where a slice has another digest than the list says.
  std::string digest() const;

 private:
  void map_slices(const std::string& folder);
  void map_slice(const std::string& path, const StateSlice& slice, void* place) const;

  std::string field_;
  std::optional<MappedFile> plain_;
  std::string list_;  // empty for a plain file
  std::vector<StateSlice> slices_;
  std::shared_ptr<void> place_;
  std::span<const uint8_t> bytes_;
};

}  // namespace espalier
