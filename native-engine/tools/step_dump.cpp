// step_dump --model DIR --in FILE --out FILE --dtype f32|bf16 [--device D] [--threads N] [--dense] [--checkpoint] [--losses LAYER,KL,LM]
// Computes one step for explicit inputs and writes losses and gradients under the names of the reference vectors. --losses gives the
// weights of the layer loss, kl and next-token cross-entropy; by default they are 0.9,0.1,0, as in the method.
#include <cstdio>
#include <cstring>
#include <fstream>
#include <iostream>
#include <map>
#include <string>

#include "espalier/base/error.h"
#include "espalier/training/trainer.h"
#include "files/mapped_file.h"
#include "files/safetensors.h"

namespace {

using namespace espalier;

using Arguments = std::map<std::string, std::string>;

Arguments parse_arguments(int argc, char** argv) {
  Arguments a;
  for (int i = 1; i < argc; i++) {
    const std::string name = argv[i];
    if (name == "--dense" || name == "--checkpoint")
      a[name] = "1";
    else if (name.starts_with("--") && i + 1 < argc)
      a[name] = argv[++i];
    else
      throw Error(ErrorCode::kInvalidArgument, name, "unexpected argument");
  }
  for (const char* needed : {"--model", "--in", "--out"})
    if (!a.count(needed))
      throw Error(ErrorCode::kInvalidArgument, needed,
                  "is missing; usage: step_dump --model DIR --in FILE --out FILE --dtype f32|bf16 [--device D] [--threads N] [--dense] "
                  "[--checkpoint] "
                  "[--losses LAYER,KL,LM]");
  if (!a.count("--dtype")) a["--dtype"] = "f32";
  if (a["--dtype"] != "f32" && a["--dtype"] != "bf16") throw Error(ErrorCode::kInvalidArgument, "--dtype", "must be f32 or bf16");
  return a;
}

const TensorView& tensor(const Safetensors& file, const std::string& name, TensorType type) {
  const auto found = file.tensors.find(name);
  if (found == file.tensors.end()) throw Error(ErrorCode::kInvalidArgument, "in." + name, "tensor is missing");
  if (found->second.type != type) throw Error(ErrorCode::kInvalidArgument, "in." + name, std::string("must be ") + tensor_type_name(type));
  return found->second;
}

std::vector<float> floats(const Safetensors& file, const std::string& name, int64_t count) {
  const TensorView& t = tensor(file, name, TensorType::kF32);
  if (t.elements() != count)
    throw Error(ErrorCode::kInvalidArgument, "in." + name, "must hold " + std::to_string(count) + " values, not " + shape_text(t.shape));
  std::vector<float> v(count);
  std::memcpy(v.data(), t.bytes.data(), count * 4);
  return v;
}

Masks masks(const Safetensors& file, const std::string& prefix, const ModelConfig& c) {
  return {floats(file, prefix + ".head", c.layer_count * c.head_count),
          floats(file, prefix + ".intermediate", c.layer_count * c.intermediate_size), floats(file, prefix + ".hidden", c.hidden_size)};
}

// Takes the rank and the targets from the tensors that the file has.
LoraSpec lora_of(const Safetensors& file, const ModelConfig& c) {
  LoraSpec lora;
  for (int p = 0; p < kProjectionCount; p++) {
    lora.targets[p] = false;
    for (int64_t l = 0; l < c.layer_count; l++) {
      const auto found = file.tensors.find("model.layers." + std::to_string(l) + "." + kProjectionNames[p] + ".lora_A");
      if (found == file.tensors.end()) continue;
      lora.targets[p] = true;
      lora.rank = found->second.shape.at(0);
    }
  }
  lora.alpha = static_cast<double>(lora.rank);
  return lora;
}

LossWeights loss_weights(const Arguments& a) {
  LossWeights w;
  const auto given = a.find("--losses");
  if (given == a.end()) return w;
  int end = 0;
  if (std::sscanf(given->second.c_str(), "%lf,%lf,%lf%n", &w.layer, &w.kl, &w.lm, &end) != 3 ||
      given->second.size() != static_cast<size_t>(end))
    throw Error(ErrorCode::kInvalidArgument, "--losses", "must be three numbers LAYER,KL,LM, not " + given->second);
  return w;
}

struct Output {
  std::vector<TensorSpec> specs;
  std::vector<std::vector<float>> data;
  void add(const std::string& name, std::vector<int64_t> shape, std::vector<float> values) {
    specs.push_back({name, TensorType::kF32, std::move(shape)});
    data.push_back(std::move(values));
  }
  void write(const std::string& path) const {
    std::ofstream out(path, std::ios::binary);
    out << safetensors_header(specs, {});
    for (const auto& d : data) out.write(reinterpret_cast<const char*>(d.data()), static_cast<std::streamsize>(d.size() * 4));
    out.flush();
    if (!out) throw Error(ErrorCode::kIo, "out", "cannot write " + path);
  }
};

void add_masks(Output& out, const std::string& prefix, const Masks& m, const ModelConfig& c) {
  out.add(prefix + ".head", {c.layer_count, c.head_count}, m.head);
  out.add(prefix + ".intermediate", {c.layer_count, c.intermediate_size}, m.intermediate);
  out.add(prefix + ".hidden", {c.hidden_size}, m.hidden);
}

void run(const Arguments& a) {
  const auto model = load_model(a.at("--model"));
  const ModelConfig& c = model->config();
  const MappedFile mapped(a.at("--in"), ErrorCode::kInvalidArgument, "in");
  const Safetensors file = parse_safetensors(mapped.bytes(), ErrorCode::kInvalidArgument, "in");
  const TensorView& ids = tensor(file, "input_ids", TensorType::kI64);
  if (ids.shape.size() != 2) throw Error(ErrorCode::kInvalidArgument, "in.input_ids", "must be [B, T]");
  StepProbe probe;
  probe.input_ids.resize(ids.elements());
  std::memcpy(probe.input_ids.data(), ids.bytes.data(), ids.elements() * 8);
  probe.student = masks(file, "z", c);
  probe.teacher = masks(file, "teacher_z", c);
  TrainerOptions options;
  options.dtype = a.at("--dtype") == "f32" ? ComputeDType::kF32 : ComputeDType::kBF16;
  options.batch_size = ids.shape[0];
  options.sequence_length = ids.shape[1];
  options.backend = parse_device(a.count("--device") ? a.at("--device") : "auto", a.count("--threads") ? std::stoi(a.at("--threads")) : 0);
  options.exact_sparse = !a.count("--dense");
  options.checkpoint_activations = a.count("--checkpoint") > 0;
  const auto trainer = Trainer::create(model, lora_of(file, c), options);
  TrainState state(trainer->layout());
  for (const TrainState::Entry& e : state.entries())
    if (e.offset < state.lora_size() && e.size > 0) {
      const std::vector<float> v = floats(file, e.name, e.size);
      std::copy(v.begin(), v.end(), state.view(e).begin());
    }
  trainer->import_state(state);
  trainer->probe(probe, loss_weights(a));
  Output out;
  out.add("loss", {1}, {static_cast<float>(probe.loss)});
  out.add("layer_loss", {1}, {static_cast<float>(probe.layer_loss)});
  out.add("kl_loss", {1}, {static_cast<float>(probe.kl_loss)});
  add_masks(out, "grad_z", probe.grad_z, c);
  add_masks(out, "grad_loga", probe.grad_log_alpha, c);
  for (const TrainState::Entry& e : state.entries())
    if (e.offset < state.lora_size())
      out.add("grad." + e.name, e.shape, {probe.grad_lora.begin() + e.offset, probe.grad_lora.begin() + e.offset + e.size});
  out.write(a.at("--out"));
  std::printf("loss %.9g layer %.9g kl %.9g -> %s\n", probe.loss, probe.layer_loss, probe.kl_loss, a.at("--out").c_str());
}

}  // namespace

int main(int argc, char** argv) {
  try {
    run(parse_arguments(argc, argv));
    return 0;
  } catch (const espalier::Error& e) {
    std::cerr << "step_dump: " << espalier::error_code_name(e.code()) << " " << e.field() << ": " << e.what() << "\n";
  } catch (const std::exception& e) {
    std::cerr << "step_dump: " << e.what() << "\n";
  }
  return 1;
}
