// A kernel's failure shows only at the next wait or a later call. So each thread remembers which kernels it launched since its last wait.
#pragma once
#include <string>

namespace espalier::cuda::ESPALIER_TARGET {

void note_launch(const char* kernel);  // must be a string literal
void note_wait();                      // call when all kernels of this thread are done

// Throws Error(kDeviceLost, "device"), which names the failure and the kernels that may have caused it.
[[noreturn]] void throw_device_lost(const std::string& failure);

}  // namespace espalier::cuda::ESPALIER_TARGET
