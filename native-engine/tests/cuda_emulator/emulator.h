// Between the emulator's streams and its blocks: how kernels come into a stream's queue.
#pragma once
#include <functional>

#include "block.h"
#include "runtime.h"

namespace espalier::cuda::ESPALIER_TARGET {

// Checks nothing now: a bad shape or a failing kernel throws when the stream comes to it.
void add_launch(StreamHandle stream, const emulator::Shape& shape, std::function<void()> kernel);

// Sets the answer of list_cards() from here on, and returns the one before.
Cards show_cards(Cards cards);

// How often the host has waited for a stream since the last call, of whatever thread.
uint64_t take_waits();

// How the streams behave that this thread makes from here on: the first one, and those after it.
void behave(const emulator::Behaviour& first, const emulator::Behaviour& others);
inline void behave(const emulator::Behaviour& all) { behave(all, all); }

}  // namespace espalier::cuda::ESPALIER_TARGET
