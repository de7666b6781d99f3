// A kernel's failure shows at the next wait, or at a later call. So each thread keeps which kernels it launched since it waited last.
#pragma once
#include <string>

namespace espalier::cuda::ESPALIER_TARGET {

void note_launch(const char* kernel);  // a literal
void note_wait();                      // all of this thread's kernels are done

// Throws Error(kDeviceLost, "device"): what failed, and the kernels among which the one at fault is.
[[noreturn]] void throw_device_lost(const std::string& failure);

}  // namespace espalier::cuda::ESPALIER_TARGET
