#include "files/new_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>

namespace espalier {

int open_new(const std::string& path) {
  constexpr int flags = O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC;
  const int direct = ::open(path.c_str(), flags | O_DIRECT, 0600);
  if (direct >= 0 || errno != EINVAL) return direct;
  ::unlink(path.c_str());  // some file systems make the file before they refuse the flag
  return ::open(path.c_str(), flags, 0600);
}

bool write_all(int file, std::span<const uint8_t> bytes) {
  while (!bytes.empty()) {
    const ssize_t written = ::write(file, bytes.data(), bytes.size());
    if (written > 0) {
      bytes = bytes.subspan(static_cast<size_t>(written));
      continue;
    }
    const int flags = ::fcntl(file, F_GETFL);
    const bool is_odd = errno == EINVAL && (flags & O_DIRECT) != 0;  // a size or place that can't bypass the cache
    if (is_odd && ::fcntl(file, F_SETFL, flags & ~O_DIRECT) == 0) continue;
    if (written < 0 && errno == EINTR) continue;
    return false;
  }
  return true;
}

}  // namespace espalier
