// The device's memory is the host's: a device address is an address of this process.
#pragma once
#include "device/memory.h"

namespace espalier::cpu {

template <class T>
[[gnu::always_inline]] inline T* host(DevicePtr<T> p) {
  return reinterpret_cast<T*>(p.address());
}
template <class T>
[[gnu::always_inline]] inline DevicePtr<T> device(T* p) {
  return DevicePtr<T>(reinterpret_cast<uint64_t>(p));
}

}  // namespace espalier::cpu
