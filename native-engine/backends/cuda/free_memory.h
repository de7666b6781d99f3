// How much of a card's memory is free, with all processes counted. The runtime could say it only after it took some of it for itself.
#pragma once
#include <cstdint>
#include <optional>
#include <string>

namespace espalier::cuda::ESPALIER_TARGET {

// By the driver's management library, which is asked for when this is first called. Nothing where it is not there or can't say.
std::optional<uint64_t> free_memory_of(const std::string& pci_bus_id);

}  // namespace espalier::cuda::ESPALIER_TARGET
