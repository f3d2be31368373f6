"""PATs: parameter-additional tuning methods, one idea per file."""

from backbones.core.registry import Registry

PATS = Registry(
    "PAT",
    "backbones.pats",
    {
        "frozen": ("backbones.pat.frozen:Frozen", "the baseline: nothing is added, nothing is trained"),
        "lora": ("backbones.pat.lora:Lora", "low-rank adaptation: two thin factors beside linear layers"),
        "adapter": ("backbones.pat.adapter:Adapter", "narrow networks behind attention or MLP, or beside them"),
        "prefix": ("backbones.pat.prefix:Prefix", "prefix tuning: keys and values in front of every attention"),
        "lora_fusion": ("backbones.pat.lora_fusion:LoraFusion", "a pool of frozen LoRAs, mixed by a few coefficients"),
        "vpt": ("backbones.pat.vpt:Vpt", "visual prompt tuning: learnable tokens, shallow or before every block"),
        "mix": ("backbones.pat.mix:Mix", "layer mixing: a learned mean of what the blocks give"),
        "bitfit": ("backbones.pat.bitfit:BitFit", "biases of linear layers and norms, trained in full"),
        "layernorm": ("backbones.pat.layernorm:LayerNorm", "LN-tuning: gain and bias of the norms, trained in full"),
        "pasta": ("backbones.pat.pasta:Pasta", "vectors added to the special tokens before every block"),
        "side": ("backbones.pat.side:Side", "a narrow network beside the blocks, added behind the last (K-Adapter)"),
        "ssf": ("backbones.pat.ssf:Ssf", "scale and shift after linear layers and norms"),
        "sparse": ("backbones.pat.sparse:Sparse", "sparse fine-tuning: the few weights that full training moves most"),
    },
)
