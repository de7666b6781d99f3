"""The configuration of a LLaMA whose layers differ in width: config.json as it is."""

from transformers import PretrainedConfig


class EspalierCompactedConfig(PretrainedConfig):
    model_type = "espalier_compacted"

    def __init__(self, espalier=None, **fields):
        self.espalier = espalier or {"base_architecture": "LlamaForCausalLM", "layers": []}
        super().__init__(**fields)
