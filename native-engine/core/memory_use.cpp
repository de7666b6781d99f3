#include "memory_use.h"

#include <algorithm>
#include <fstream>
#include <string>

namespace espalier {

// Value of a "Key:   123 kB" line of a file under /proc, in bytes; 0 when absent.
static uint64_t read_kilobytes(const char* path, const std::string& key) {
  std::ifstream in(path);
  for (std::string word; in >> word;)
    if (word == key + ":") {
      uint64_t value = 0;
      in >> value;
      return value * 1024;
    }
  return 0;
}

static uint64_t read_number(const char* path, uint64_t otherwise) {
  std::ifstream in(path);
  uint64_t value = 0;
  return in >> value ? value : otherwise;
}

uint64_t peak_resident_bytes() { return read_kilobytes("/proc/self/status", "VmHWM"); }

uint64_t available_bytes() {
  const uint64_t machine = read_kilobytes("/proc/meminfo", "MemAvailable");
  const uint64_t limit = read_number("/sys/fs/cgroup/memory.max", UINT64_MAX);
  const uint64_t used = read_number("/sys/fs/cgroup/memory.current", 0);
  return std::min(machine, limit > used ? limit - used : 0);
}

}  // namespace espalier
