// The shards of a text in files. They are read by `pread` instead of being mapped: a step reads only some kilobytes, the pages of a mapping
// would count as memory of the process, and a file that another process truncates would end this one by SIGBUS.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstring>
#include <map>
#include <mutex>
#include <tuple>

#include "espalier/base/error.h"
#include "espalier/step/token_data.h"
#include "files/sha256.h"

namespace espalier {
namespace {

constexpr uint32_t kContext = UINT32_C(1) << 31;
constexpr size_t kPieceBytes = size_t{1} << 20;

// Tells a file from one that was changed or put in its place.
using FileMark = std::tuple<dev_t, ino_t, off_t, time_t, long, time_t, long>;

struct ReadOnce {
  std::string digest;
  uint32_t largest_id = 0;
};

// The files that were read for their digest.
class KnownFiles {
 public:
  ReadOnce* find(const FileMark& mark) {
    const auto found = known_.find(mark);
    return found == known_.end() ? nullptr : &found->second;
  }
  void put(const FileMark& mark, ReadOnce what) { known_[mark] = std::move(what); }
  std::mutex& mutex() { return mutex_; }

 private:
  std::mutex mutex_;
  std::map<FileMark, ReadOnce> known_;
};

KnownFiles& known_files() {
  static KnownFiles files;
  return files;
}

[[noreturn]] void refuse(const TokenFile& file, const std::string& what) {
  throw Error(ErrorCode::kStateCorrupt, "data", "tokens " + file.digest + " can't be read from " + file.path + ": " + what);
}

class OpenFile {
 public:
  explicit OpenFile(const TokenFile& file) : fd_(::open(file.path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)) {
    if (fd_ < 0) refuse(file, std::strerror(errno));
  }
  ~OpenFile() {
    if (fd_ >= 0) ::close(fd_);
  }
  OpenFile(OpenFile&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  OpenFile(const OpenFile&) = delete;
  OpenFile& operator=(const OpenFile&) = delete;
  OpenFile& operator=(OpenFile&&) = delete;

  // Reads all of `size` bytes, unless the file ends before. Returns how many were read, or -1, where errno says why it failed.
  ssize_t read(void* target, size_t size, int64_t offset) const {
    size_t done = 0;
    while (done < size) {
      const ssize_t got =
          ::pread(fd_, static_cast<char*>(target) + done, size - done, static_cast<off_t>(offset) + static_cast<off_t>(done));
      if (got < 0 && errno == EINTR) continue;
      if (got < 0) return -1;
      if (got == 0) break;
      done += static_cast<size_t>(got);
    }
    return static_cast<ssize_t>(done);
  }
  int fd() const { return fd_; }

 private:
  int fd_;
};

void from_little_endian(std::vector<uint32_t>& words) {
  if constexpr (std::endian::native == std::endian::big)
    for (uint32_t& word : words) word = __builtin_bswap32(word);
}

ReadOnce read_once(const TokenFile& file, const OpenFile& open) {
  Sha256 hash;
  ReadOnce out;
  std::vector<uint32_t> piece(kPieceBytes / sizeof(uint32_t));
  for (int64_t offset = 0, end = file.tokens * 4; offset < end;) {
    const auto size = static_cast<size_t>(std::min<int64_t>(end - offset, kPieceBytes));
    if (open.read(piece.data(), size, offset) != static_cast<ssize_t>(size)) refuse(file, "it ends too early, or the disk fails");
    hash.update(piece.data(), size);
    from_little_endian(piece);
    for (size_t i = 0; i < size / 4; i++) out.largest_id = std::max(out.largest_id, piece[i] & ~kContext);
    offset += static_cast<int64_t>(size);
  }
  out.digest = hash.finish_hex();
  return out;
}

class TokenFiles final : public TokenText {
 public:
  explicit TokenFiles(const std::vector<TokenFile>& files) {
    for (const TokenFile& file : files) {
      OpenFile open(file);
      struct stat info{};
      if (::fstat(open.fd(), &info) != 0 || !S_ISREG(info.st_mode)) refuse(file, "it is no regular file");
      if (info.st_size != file.tokens * 4)
        refuse(file, "it has " + std::to_string(info.st_size) + " bytes, not " + std::to_string(file.tokens * 4));
      largest_id_ = std::max(largest_id_, checked(file, open, info));
      begins_.push_back(size_);
      size_ += file.tokens;
      paths_.push_back(file.path);
      open_.push_back(std::move(open));
    }
  }

  int64_t size() const override { return size_; }
  uint32_t largest_id() const override { return largest_id_; }

  std::vector<uint32_t> words(int64_t first, int64_t count) const override {
    if (first < 0 || count < 0 || first + count > size_) throw Error(ErrorCode::kIo, "data", "there are no such tokens");
    std::vector<uint32_t> out(static_cast<size_t>(count));
    auto shard = static_cast<size_t>(std::upper_bound(begins_.begin(), begins_.end(), first) - begins_.begin()) - 1;
    for (int64_t done = 0; done < count; shard++) {
      const int64_t end = shard + 1 < begins_.size() ? begins_[shard + 1] : size_, at = first + done;
      const int64_t here = std::min(count - done, end - at);
      const auto size = static_cast<size_t>(here) * 4;
      if (open_[shard].read(out.data() + done, size, (at - begins_[shard]) * 4) != static_cast<ssize_t>(size))
        throw Error(ErrorCode::kIo, "data", "can't read " + paths_[shard] + ": it became shorter, or the disk fails");
      done += here;
    }
    from_little_endian(out);
    return out;
  }

 private:
  static uint32_t checked(const TokenFile& file, const OpenFile& open, const struct stat& info) {
    const FileMark mark{info.st_dev,          info.st_ino,         info.st_size,        info.st_mtim.tv_sec,
                        info.st_mtim.tv_nsec, info.st_ctim.tv_sec, info.st_ctim.tv_nsec};
    KnownFiles& known = known_files();
    const std::scoped_lock lock(known.mutex());
    if (known.find(mark) == nullptr) known.put(mark, read_once(file, open));
    const ReadOnce& found = *known.find(mark);
    if (found.digest != file.digest) refuse(file, "its digest is " + found.digest);
    return found.largest_id;
  }

  std::vector<OpenFile> open_;
  std::vector<std::string> paths_;
  std::vector<int64_t> begins_;  // for each file, the number of tokens before it
  int64_t size_ = 0;
  uint32_t largest_id_ = 0;
};

}  // namespace

std::shared_ptr<const TokenText> token_files(const std::vector<TokenFile>& files) { return std::make_shared<const TokenFiles>(files); }

}  // namespace espalier
