#include "launch_log.h"

#include <algorithm>
#include <string_view>
#include <utility>
#include <vector>

#include "espalier/base/error.h"

namespace espalier::cuda::ESPALIER_TARGET {

namespace {

// The launches since the last wait, counted by name: a step launches thousands of kernels, which have about thirty names.
thread_local std::vector<std::pair<std::string_view, int64_t>> launches;

}  // namespace

void note_launch(const char* kernel) {
  const auto known = std::find_if(launches.begin(), launches.end(), [=](const auto& one) { return one.first == kernel; });
  if (known == launches.end())
    launches.emplace_back(kernel, 1);
  else
    known->second++;
}

void note_wait() { launches.clear(); }

void throw_device_lost(const std::string& failure) {
  std::string text = failure + ". A kernel failed, and this process can use the card no more. Launched since the last wait:";
  if (launches.empty()) text += " none by this thread";
  for (const auto& [kernel, count] : launches)
    text += (&kernel == &launches.front().first ? " " : ", ") + std::string(kernel) + (count > 1 ? " (" + std::to_string(count) + ")" : "");
  throw Error(ErrorCode::kDeviceLost, "device", text);
}

}  // namespace espalier::cuda::ESPALIER_TARGET
