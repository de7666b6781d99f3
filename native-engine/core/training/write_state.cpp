// Makes the file of the trainer's state: whole in memory, or piece by piece on its way to the disk.
#include <algorithm>
#include <array>
#include <future>

#include "files/sliced_file.h"
#include "training/trainer_impl.h"

namespace espalier {
void TrainerImpl::serialize(FileBytes& file) {
  const StateBytes state = state_.state_file();
  if (file.capacity() < state.size()) FileBytes().swap(file);  // what it holds is not copied to the new memory
  file.resize(state.size());
  state_.serialize(state, 0, file);
}

// While one piece is digested and written, the next one comes from the device.
void TrainerImpl::write_state(SliceWriter& slices) {
  const StateBytes state = state_.state_file();
  std::array<FileBytes, 2> pieces;
  std::future<void> writing;
  for (uint64_t at = 0, turn = 0; at < state.size(); at += kStatePieceBytes, turn ^= 1) {
    FileBytes& piece = pieces[turn];
    piece.resize(std::min(kStatePieceBytes, state.size() - at));
    state_.serialize(state, at, piece);
    if (writing.valid()) writing.get();
    writing = std::async(std::launch::async, [&slices, &piece] { slices.write(piece); });
  }
  if (writing.valid()) writing.get();
}

}  // namespace espalier
