// Connects the emulator's streams with its blocks: how kernels get into a stream's queue.
#pragma once
#include <array>
#include <functional>

#include "blocks/block.h"
#include "runtime.h"

namespace espalier::cuda::ESPALIER_TARGET {

// Queues a kernel and checks nothing yet: a bad shape or a failing kernel throws when the stream reaches it.
void add_launch(StreamHandle stream, const emulator::Shape& shape, std::function<void()> kernel);

// Returns the most shared memory that a block of the emulated cards may take, by the compute capability of the first.
uint64_t shared_most();

// Sets the answer of list_cards() from now on, and returns the answer before.
Cards show_cards(Cards cards);

// The bytes that cards have sent to other cards since the last call: sent[from][to].
inline constexpr size_t kMostCards = 16;
using SentBytes = std::array<std::array<uint64_t, kMostCards>, kMostCards>;
SentBytes take_sent_bytes();

// Returns how often any thread of the host has waited for a stream since the last call.
uint64_t take_waits();

// Sets the behaviour of the streams that this thread makes from now on: that of the first stream, and that of all others.
void behave(const emulator::Behaviour& first, const emulator::Behaviour& others);
inline void behave(const emulator::Behaviour& all) { behave(all, all); }

}  // namespace espalier::cuda::ESPALIER_TARGET
