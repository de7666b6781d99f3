#include "base/memory_use.h"

#include <algorithm>
#include <fstream>
#include <string>

namespace espalier {

// Reads the number behind a word in one of the kernel's files of "key value" lines; 0 where the word is absent.
static uint64_t read_value(const char* path, const std::string& key) {
  std::ifstream in(path);
  for (std::string word; in >> word;)
    if (word == key) {
      uint64_t value = 0;
      in >> value;
      return value;
    }
  return 0;
}

static uint64_t read_number(const char* path, uint64_t otherwise) {
  std::ifstream in(path);
  uint64_t value = 0;
  return in >> value ? value : otherwise;
}

uint64_t peak_resident_bytes() { return read_value("/proc/self/status", "VmHWM:") * 1024; }

uint64_t machine_bytes() {
  return std::min(read_value("/proc/meminfo", "MemTotal:") * 1024, read_number("/sys/fs/cgroup/memory.max", UINT64_MAX));
}

uint64_t available_bytes() {
  const uint64_t machine = read_value("/proc/meminfo", "MemAvailable:") * 1024;
  const uint64_t limit = read_number("/sys/fs/cgroup/memory.max", UINT64_MAX);
  const uint64_t used = read_number("/sys/fs/cgroup/memory.current", 0);
  // Pages of files in the control group can be dropped, above all those of mapped weights.
  const char* stat = "/sys/fs/cgroup/memory.stat";
  const uint64_t files = read_value(stat, "active_file") + read_value(stat, "inactive_file");
  const uint64_t held = used > files ? used - files : 0;
  return std::min(machine, limit > held ? limit - held : 0);
}

}  // namespace espalier
