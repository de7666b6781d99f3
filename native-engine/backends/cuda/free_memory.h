// Tells how much memory of a card is free, counting all processes. The CUDA runtime can tell it only after it has taken some memory itself.
#pragma once
#include <cstdint>
#include <optional>
#include <string>

namespace espalier::cuda::ESPALIER_TARGET {

// Asks the driver's management library, which the first call loads. Returns nothing where the library is missing or can't tell.
std::optional<uint64_t> free_memory_of(const std::string& pci_bus_id);

}  // namespace espalier::cuda::ESPALIER_TARGET
