"""What the notebooks import: `import utils`, then `utils.load_model()` and so on."""

from utils.errors import ModelError, PromptError, WorkbookError
from utils.ioi import ANSWERS, PROMPTS, IOIData, load_ioi, logits_to_ave_logit_diff, make_ioi_metric, position_labels
from utils.models import load_model, model_in_use, model_name
from utils.plots import attention_view, heat_map, imshow, topk_of_Nd_tensor
from utils.published import published_patching, published_results
from utils.references import reference_sweep

__all__ = [
    "ANSWERS",
    "PROMPTS",
    "IOIData",
    "ModelError",
    "PromptError",
    "WorkbookError",
    "attention_view",
    "heat_map",
    "imshow",
    "load_ioi",
    "load_model",
    "logits_to_ave_logit_diff",
    "make_ioi_metric",
    "model_in_use",
    "model_name",
    "position_labels",
    "published_patching",
    "published_results",
    "reference_sweep",
    "topk_of_Nd_tensor",
]
