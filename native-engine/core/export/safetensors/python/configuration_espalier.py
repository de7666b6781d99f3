"""The configuration of a LLaMA whose layers differ in width: config.json as it is."""

from transformers import PretrainedConfig


class EspalierCompactedConfig(PretrainedConfig):
    model_type = "espalier_compacted"

    def __init__(self, espalier=None, **fields):
        self.espalier = espalier or {"base_architecture": "LlamaForCausalLM", "layers": []}
        # Newer versions of transformers would rewrite these fields, for which they need others to be there already.
        rotary = {name: fields.pop(name) for name in ("rope_parameters", "rope_scaling", "rope_theta") if name in fields}
        super().__init__(**fields)
        for name, value in rotary.items():
            setattr(self, name, value)
