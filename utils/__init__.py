"""The notebooks' helpers: `import utils`, then `utils.load_model()` and so on."""

import os

# PyTorch reads this once, at import. A waiting thread of GNU's OpenMP spins some 300,000 times before it sleeps; on a
# busy machine a fast sweep then takes a hundred times as long. With 4,000 spins it takes three times as long there, and
# no longer than before on an idle machine.
os.environ.setdefault("GOMP_SPINCOUNT", "4000")

from utils.progress import import_with_a_bar, with_progress_bar

# These take nearly all of the import's time.
import_with_a_bar("torch", "transformer_lens", "transformer_lens.model_bridge")

from utils import sweeps
from utils.circuit import CircuitError, Evidence, evidence_table, measure_evidence, published_circuit
from utils.corruptions import claim_heads, corruption_maps, head_sweep
from utils.diagrams import (
    Diagram,
    block_diagram,
    circuit_diagram,
    forward_pass_diagram,
    head_inputs_diagram,
    patch_reach_diagram,
    patched_pass_diagram,
)
from utils.errors import ModelError, PromptError, WorkbookError
from utils.interventions import (
    ablation_hooks,
    faithfulness,
    heads_outside,
    heads_read,
    mean_ablate,
    mean_outputs,
    path_patch,
)
from utils.ioi import (
    ANSWERS,
    PROMPTS,
    IOIData,
    load_ioi,
    logits_to_ave_logit_diff,
    make_ioi_metric,
    position_labels,
    with_names_swapped,
    with_other_names,
)
from utils.lab_widgets import lab
from utils.models import has_published_heads, load_model, model_in_use, model_name
from utils.mystery import mystery_model
from utils.plots import attention_view, bar_chart, heads_or_strongest, heat_map, imshow, topk_of_Nd_tensor
from utils.predictions import PredictionError, compare_prediction
from utils.published import published_attribution, published_patching, published_results
from utils.published_view import published_beside
from utils.references import by_query_head, reference_sweep
from utils.sweeps import SweepError

__all__ = [
    "ANSWERS",
    "PROMPTS",
    "CircuitError",
    "Diagram",
    "Evidence",
    "IOIData",
    "ModelError",
    "PredictionError",
    "PromptError",
    "SweepError",
    "WorkbookError",
    "ablation_hooks",
    "attention_view",
    "bar_chart",
    "block_diagram",
    "by_query_head",
    "circuit_diagram",
    "claim_heads",
    "compare_prediction",
    "corruption_maps",
    "evidence_table",
    "faithfulness",
    "forward_pass_diagram",
    "has_published_heads",
    "head_inputs_diagram",
    "head_sweep",
    "heads_or_strongest",
    "heads_outside",
    "heads_read",
    "heat_map",
    "imshow",
    "lab",
    "load_ioi",
    "load_model",
    "logits_to_ave_logit_diff",
    "make_ioi_metric",
    "mean_ablate",
    "mean_outputs",
    "measure_evidence",
    "model_in_use",
    "model_name",
    "mystery_model",
    "patch_reach_diagram",
    "patched_pass_diagram",
    "path_patch",
    "position_labels",
    "published_attribution",
    "published_beside",
    "published_circuit",
    "published_patching",
    "published_results",
    "reference_sweep",
    "sweeps",
    "topk_of_Nd_tensor",
    "with_names_swapped",
    "with_other_names",
    "with_progress_bar",
]
