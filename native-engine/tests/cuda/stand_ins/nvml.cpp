// A libnvidia-ml.so.1 that knows one card, at the bus address STAND_IN_CARD, with 5 of 8 GiB free.
#include <cstdlib>
#include <cstring>

extern "C" {
int nvmlInit_v2() { return 0; }
int nvmlDeviceGetHandleByPciBusId_v2(const char* bus, void** device) {
  const char* card = std::getenv("STAND_IN_CARD");
  if (!card || std::strcmp(bus, card) != 0) return 6;  // the status "not found"
  *device = device;
  return 0;
}
int nvmlDeviceGetMemoryInfo(void* device, unsigned long long* total_free_used) {
  if (!device) return 2;
  const unsigned long long gib = 1ull << 30;
  total_free_used[0] = 8 * gib;
  total_free_used[1] = 5 * gib;
  total_free_used[2] = 3 * gib;
  return 0;
}
}
