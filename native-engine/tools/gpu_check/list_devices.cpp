// list_devices prints a line of JSON for each device of this build.
#include <cstdio>

#include "espalier/device/device.h"

int main() {
  for (const espalier::DeviceDescription& d : espalier::list_devices())
    std::printf("{\"name\":\"%s\",\"model\":\"%s\",\"kernels\":\"%s\",\"memory_bytes\":%llu,\"problem\":\"%s\"}\n", d.name.c_str(),
                d.model.c_str(), (d.kernels_in_use + (d.products.empty() ? "" : ", " + d.products)).c_str(),
                static_cast<unsigned long long>(d.memory_bytes), d.problem.c_str());
}
