"""The notebooks' helpers: `import utils`, then `utils.load_model()` and so on."""

import utils.threads  # noqa: F401  first, before anything imports PyTorch
from utils import sweeps
from utils.circuit import CircuitError, Evidence, evidence_table, measure_evidence, published_circuit
from utils.diagrams import (
    Diagram,
    block_diagram,
    circuit_diagram,
    forward_pass_diagram,
    patch_reach_diagram,
    patched_pass_diagram,
)
from utils.errors import ModelError, PromptError, WorkbookError
from utils.ioi import ANSWERS, PROMPTS, IOIData, load_ioi, logits_to_ave_logit_diff, make_ioi_metric, position_labels
from utils.models import load_model, model_in_use, model_name
from utils.plots import attention_view, heat_map, imshow, topk_of_Nd_tensor
from utils.published import published_attribution, published_patching, published_results
from utils.published_view import published_beside
from utils.references import reference_sweep
from utils.sweeps import SweepError

__all__ = [
    "ANSWERS",
    "PROMPTS",
    "CircuitError",
    "Diagram",
    "Evidence",
    "IOIData",
    "ModelError",
    "PromptError",
    "SweepError",
    "WorkbookError",
    "attention_view",
    "block_diagram",
    "circuit_diagram",
    "evidence_table",
    "forward_pass_diagram",
    "heat_map",
    "imshow",
    "load_ioi",
    "load_model",
    "logits_to_ave_logit_diff",
    "make_ioi_metric",
    "measure_evidence",
    "model_in_use",
    "model_name",
    "patch_reach_diagram",
    "patched_pass_diagram",
    "position_labels",
    "published_attribution",
    "published_beside",
    "published_circuit",
    "published_patching",
    "published_results",
    "reference_sweep",
    "sweeps",
    "topk_of_Nd_tensor",
]
