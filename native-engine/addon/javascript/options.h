// Options of the core, read from JavaScript objects in the shapes that native.ts declares.
#pragma once
#include "javascript/js_reader.h"
#include "session/session_core.h"

namespace espalier::addon {

struct SessionOptions {
  LoraSpec lora;
  TrainerOptions trainer;
  uint64_t slice_bytes = kSliceBytes;  // a state that is larger is kept in slices of this size
};

ShapeTarget read_shape_target(const JsObject& options);  // the shape target of a fresh state; empty where the options have none
SessionOptions read_session_options(const JsObject& options);
SegmentPlan read_segment_plan(const JsObject& options);
SegmentTeachers read_teachers(const JsObject& options);  // empty where the options have none
EvaluateOptions read_evaluate_options(const JsObject& options);
ScorerOptions read_scorer_options(const JsObject& options);

// A source of the training text: words in memory, or the files that hold them.
struct TokenSourceOptions {
  uint64_t parts = 1;
  std::vector<uint32_t> words;
  std::vector<TokenFile> files;
};
std::vector<TokenSourceOptions> read_token_sources(const JsObject& options);
ScoreBatch read_score_batch(const JsObject& options);
GenerateOptions read_generate_options(const JsObject& options);
MeasureOptions read_measure_options(const JsObject& options);
SpeedTableOptions read_speed_table_options(const JsObject& options);
ExportRequest read_export_request(const JsObject& options);

}  // namespace espalier::addon
