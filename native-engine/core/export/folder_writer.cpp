#include "export/folder_writer.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>

#include "espalier/base/error.h"

namespace espalier {
namespace {

namespace fs = std::filesystem;
constexpr size_t kBufferBytes = 1 << 20;
constexpr const char* kField = "out_folder";

std::string partial_prefix(const std::string& name) { return "." + name + ".partial-"; }

void sync_folder(const std::string& path) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return;
  ::fsync(fd);  // some file systems refuse this on folders; the rename is then as durable as they make it
  ::close(fd);
}

}  // namespace

FolderWriter::FolderWriter(const std::string& out_folder) {
  std::error_code ec;
  const fs::path target = fs::absolute(out_folder, ec).lexically_normal();
  const fs::path named = target.has_filename() ? target : target.parent_path();
  if (out_folder.empty() || ec || !named.has_filename()) {
    throw Error(ErrorCode::kInvalidArgument, kField, "out_folder must name a folder, not \"" + out_folder + "\"");
  }
  out_folder_ = named.string();
  parent_ = named.parent_path().string();
  if (fs::exists(named, ec) && !(fs::is_directory(named, ec) && fs::is_empty(named, ec))) {
    throw Error(ErrorCode::kInvalidArgument, kField, out_folder_ + " exists and is not an empty folder: nothing is overwritten");
  }
  if (!fs::is_directory(parent_, ec)) {
    throw Error(ErrorCode::kInvalidArgument, kField, "the parent folder " + parent_ + " does not exist");
  }
  remove_abandoned();
  std::string pattern = parent_ + "/" + partial_prefix(named.filename().string()) + "XXXXXX";
  if (::mkdtemp(pattern.data()) == nullptr) fail("cannot create a folder in " + parent_, errno);
  partial_ = pattern;
  ::chmod(partial_.c_str(), 0755);
  // The lock is held until the end, so that another process can tell an export that still runs from an abandoned one.
  lock_fd_ = ::open(partial_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (lock_fd_ < 0 || ::flock(lock_fd_, LOCK_EX | LOCK_NB) != 0) {
    const int error = errno;
    discard();
    fail("cannot lock " + partial_, error);
  }
  buffer_.reserve(kBufferBytes);
}

FolderWriter::~FolderWriter() {
  if (!published_) discard();
  if (lock_fd_ >= 0) ::close(lock_fd_);
}

void FolderWriter::discard() {
  if (file_fd_ >= 0) ::close(file_fd_);
  file_fd_ = -1;
  std::error_code ec;
  fs::remove_all(partial_, ec);
}

void FolderWriter::remove_abandoned() const {
  std::error_code ec;
  const std::string prefix = partial_prefix(fs::path(out_folder_).filename().string());
  for (const auto& entry : fs::directory_iterator(parent_, ec)) {
    if (!entry.path().filename().string().starts_with(prefix)) continue;
    const int fd = ::open(entry.path().c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) continue;
    if (::flock(fd, LOCK_EX | LOCK_NB) == 0) fs::remove_all(entry.path(), ec);
    ::close(fd);
  }
}

void FolderWriter::fail(const std::string& what, int error) const {
  throw Error(ErrorCode::kIo, kField, what + ": " + std::strerror(error));
}

void FolderWriter::require_space(uint64_t size_bytes) const {
  struct statvfs info{};
  if (::statvfs(partial_.c_str(), &info) != 0) return;
  const uint64_t free_bytes = static_cast<uint64_t>(info.f_bavail) * info.f_frsize;
  if (size_bytes > free_bytes) {
    throw Error(
        ErrorCode::kIo, kField,
        "the export needs " + std::to_string(size_bytes) + " bytes, but only " + std::to_string(free_bytes) + " are free in " + parent_);
  }
}

void FolderWriter::begin_file(const std::string& name) {
  const std::string path = partial_ + "/" + name;
  file_fd_ = ::open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
  if (file_fd_ < 0) fail("cannot create " + path, errno);
  hash_ = Sha256();
  files_.push_back({name, 0, ""});
}

void FolderWriter::write(const void* data, size_t size_bytes) {
  const auto* bytes = static_cast<const uint8_t*>(data);
  files_.back().size_bytes += size_bytes;
  while (size_bytes > 0) {
    const size_t take = std::min(size_bytes, kBufferBytes - buffer_.size());
    buffer_.insert(buffer_.end(), bytes, bytes + take);
    bytes += take;
    size_bytes -= take;
    if (buffer_.size() == kBufferBytes) flush();
  }
}

void FolderWriter::flush() {
  hash_.update(buffer_);
  for (size_t done = 0; done < buffer_.size();) {
    const ssize_t n = ::write(file_fd_, buffer_.data() + done, buffer_.size() - done);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) fail("cannot write " + files_.back().name, errno);
    done += static_cast<size_t>(n);
  }
  buffer_.clear();
}

void FolderWriter::end_file() {
  flush();
  close_file(hash_.finish_hex());
}

void FolderWriter::end_sealed_file(uint64_t offset) {
  flush();
  overwrite(offset, hash_.finish_hex());
  close_file(digest_of_file());
}

void FolderWriter::overwrite(uint64_t offset, const std::string& bytes) {
  for (size_t done = 0; done < bytes.size();) {
    const ssize_t n = ::pwrite(file_fd_, bytes.data() + done, bytes.size() - done, static_cast<off_t>(offset + done));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) fail("cannot write " + files_.back().name, errno);
    done += static_cast<size_t>(n);
  }
}

std::string FolderWriter::digest_of_file() {
  Sha256 hash;
  std::vector<uint8_t> piece(kBufferBytes);
  for (uint64_t at = 0;;) {
    const ssize_t n = ::pread(file_fd_, piece.data(), piece.size(), static_cast<off_t>(at));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) fail("cannot read " + files_.back().name, errno);
    if (n == 0) return hash.finish_hex();
    hash.update({piece.data(), static_cast<size_t>(n)});
    at += static_cast<uint64_t>(n);
  }
}

void FolderWriter::close_file(const std::string& sha256) {
  if (::fsync(file_fd_) != 0) fail("cannot make " + files_.back().name + " durable", errno);
  ::close(file_fd_);
  file_fd_ = -1;
  files_.back().sha256 = sha256;
}

void FolderWriter::add_file(const std::string& name, const std::string& content) {
  begin_file(name);
  write(content.data(), content.size());
  end_file();
}

void FolderWriter::publish() {
  sync_folder(partial_);
  if (::rename(partial_.c_str(), out_folder_.c_str()) != 0) {
    const int error = errno;
    if (error == ENOTEMPTY || error == EEXIST) {
      throw Error(ErrorCode::kInvalidArgument, kField, out_folder_ + " has been filled by someone else: nothing is overwritten");
    }
    fail("cannot name the finished folder " + out_folder_, error);
  }
  published_ = true;
  sync_folder(parent_);
}

}  // namespace espalier
