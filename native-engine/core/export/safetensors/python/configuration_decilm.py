"""The configuration that vLLM's DeciLM reads: a LLaMA's, and what each block has."""

from transformers import LlamaConfig


class Block(dict):
    """A JSON object whose fields are attributes too, as vLLM asks for them."""

    def __getattr__(self, name):
        try:
            return self[name]
        except KeyError:
            raise AttributeError(name) from None


def as_block(value):
    return Block({key: as_block(field) for key, field in value.items()}) if isinstance(value, dict) else value


class DeciLMConfig(LlamaConfig):
    model_type = "nemotron-nas"

    def __init__(self, block_configs=None, **fields):
        super().__init__(**fields)
        self.block_configs = [as_block(block) for block in block_configs or []]
