// Cards that share a run, in the check of a machine that has two or more (tools/gpu_check.sh): copies arrive, and a run ends in the same
// bits on any number of the cards. Where there are fewer, emulated cards take their place.
#include "cuda_emulator/emulated_kind.h"
#include "device/registry.h"
#include "files/small_models.h"
#include "step/step_helpers.h"

namespace espalier::test {

namespace {

bool is_emulated(const BackendSpec& card) { return describe_device(card).model.starts_with("emulated"); }

// Returns at most eight cards.
std::vector<BackendSpec> all_cards() {
  std::vector<BackendSpec> cards;
  for (const DeviceDescription& d : list_devices())
    if (d.problem.empty() && d.name.starts_with("cuda") && cards.size() < 8) cards.push_back(parse_device(d.name, 0));
  if (cards.size() > 1) return cards;
  cards.clear();
  for (int i = 0; i < 4; i++) cards.push_back(emulated_card("late", i));
  return cards;
}

// Returns a model of two layers, on real cards with heads of 128 and enough rows for the kernels that large models use.
std::shared_ptr<const ModelWeights> model_for(const BackendSpec& card) {
  if (is_emulated(card)) return light_model();
  return random_model(parse_small({{"architectures", {"LlamaForCausalLM"}},
                                   {"hidden_size", 1024},
                                   {"num_hidden_layers", 2},
                                   {"num_attention_heads", 8},
                                   {"num_key_value_heads", 4},
                                   {"intermediate_size", 2752},
                                   {"vocab_size", 2000}}),
                      DType::kBF16, 5);
}

// Trains two steps of four or eight shards, each of one sequence.
std::string digest_on(const std::shared_ptr<const ModelWeights>& model, std::span<const BackendSpec> cards, ComputeDType dtype) {
  TrainerOptions options;
  options.dtype = dtype;
  options.backend = cards.front();
  options.more_devices.assign(cards.begin() + 1, cards.end());
  options.micro_shards = options.batch_size = is_emulated(cards.front()) ? 4 : 8;
  options.sequence_length = is_emulated(cards.front()) ? 4 : 256;
  const auto trainer = Trainer::create(model, LoraSpec{}, options);
  change_state(*trainer, [](TrainState& state) {
    state.initialise(11);
    loosen_masks(state);
  });
  trainer->set_data(random_tokens(model->config().vocab_size, options.sequence_length * 31));
  run(*trainer, segment(0, 2));
  return digest_of(*trainer);
}

}  // namespace

TEST(SeveralCards, EachCardFetchesFromEachOtherWhatLiesThere) {
  const std::vector<BackendSpec> cards = all_cards();
  const size_t bytes = is_emulated(cards.front()) ? 4099 : (size_t{64} << 20) + 3;
  const auto content = [&](size_t card) {
    std::vector<std::byte> all(bytes);
    for (size_t i = 0; i < bytes; i++) all[i] = static_cast<std::byte>((i * 7 + i / 251 + card * 31) & 255);
    return all;
  };
  std::vector<std::unique_ptr<Backend>> backends;
  std::vector<DeviceBuffer> held, fetched;
  for (size_t i = 0; i < cards.size(); i++) {
    Backend& card = *backends.emplace_back(make_backend(cards[i]));
    card.attach_thread();
    held.push_back(card.allocate(bytes));
    fetched.push_back(card.allocate(bytes));
    upload_now<std::byte>(card, held.back().data(), content(i));
  }
  for (size_t to = 0; to < cards.size(); to++)
    for (size_t from = 0; from < cards.size(); from++) {
      if (from == to) continue;
      backends[to]->attach_thread();
      backends[to]->fetch(fetched[to].data(), *backends[from], held[from].data(), bytes);
      EXPECT_TRUE(download<std::byte>(*backends[to], fetched[to].data(), static_cast<int64_t>(bytes)) == content(from))
          << cards[to].name << " " << cards[to].device << " from " << cards[from].device;
    }
}

// On the emulator f32 would prove no more than bf16: how cards share a step does not depend on the dtype.
TEST(SeveralCards, ARunEndsInTheBitsOfTheFirstCardOnEachOtherAndOnAnyNumberOfThem) {
  const std::vector<BackendSpec> cards = all_cards();
  const auto model = model_for(cards.front());
  for (const ComputeDType dtype : {ComputeDType::kBF16, ComputeDType::kF32}) {
    if (dtype == ComputeDType::kF32 && is_emulated(cards.front())) continue;
    const std::string first = digest_on(model, std::span(cards).first(1), dtype);
    for (size_t i = 1; i < cards.size(); i++)
      EXPECT_EQ(digest_on(model, std::span(cards).subspan(i, 1), dtype), first) << cards[i].name << " " << cards[i].device;
    for (size_t count = 2; count <= cards.size(); count *= 2)
      EXPECT_EQ(digest_on(model, std::span(cards).first(count), dtype), first) << count << " cards";
  }
}

}  // namespace espalier::test
