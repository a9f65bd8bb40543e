"""A learner's map beside the reference, drawn when it is asked for."""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from tests.checks.checking import CheckFailed, require_tensor
from tests.checks.sweeps import result_of
from tests.exercises import EXERCISE_SWEEPS
from utils.ioi import IOIData, load_ioi
from utils.memoized_forward import memoized_forward
from utils.models import model_in_use
from utils.plots import imshow
from utils.references import TOLERANCE, cached_suffixes, reference_sweep
from utils.sweep_specs import SweepSpec


def show_difference(sweep: Callable) -> None:
    """Draw a sweep's map of the loaded model, the reference and the difference, and say where they differ most.

    `sweep` is the function of an exercise, such as `get_act_patch_resid_pre`; it is run on the 8 IOI prompts unless its
    check did so already. Of a sweep over several components, the one that differs most is drawn. Raises `CheckFailed`
    for another function, or a result of another shape.
    """
    name = getattr(sweep, "__name__", "")
    if name not in EXERCISE_SWEEPS:
        names = ", ".join(EXERCISE_SWEEPS)
        raise CheckFailed("show_difference draws a sweep of the exercises", names, name, "give the function itself")
    spec, model = EXERCISE_SWEEPS[name], model_in_use()
    data = load_ioi(model)
    expected = reference_sweep(name, model, data).cpu()
    shape = tuple(expected.shape)
    checked = f"{name} returns [{spec.axes}], on the 8 IOI prompts"
    with memoized_forward(model, cached_suffixes(name, model, data)):
        result = result_of(sweep)
    actual = require_tensor(result, shape, torch.float32, checked, f"a map has the axes [{spec.axes}]")
    component, yours, reference = _most_different(actual, expected, spec)
    imshow(
        torch.stack([yours, reference, yours - reference]),
        title=f"Patching {component}",
        x=data.labels if spec.by_position else None,
        xaxis="position" if spec.by_position else "head",
        yaxis="layer",
        facet_labels=["yours", "transformer_lens.patching", "yours minus transformer_lens.patching"],
    )
    print(_interpretation(yours, reference, component, data.labels if spec.by_position else [], data))


def _most_different(
    actual: Float[Tensor, "..."], expected: Float[Tensor, "..."], spec: SweepSpec
) -> tuple[str, Float[Tensor, "layer index"], Float[Tensor, "layer index"]]:
    """Return a component's name and its two maps: of several components, those that differ most."""
    parts = [part if spec.has_component_axis else part[None] for part in (actual, expected)]
    number = int((parts[0] - parts[1]).abs().flatten(1).amax(dim=1).nan_to_num(torch.inf).argmax())
    return spec.components[number], parts[0][number], parts[1][number]


def _interpretation(
    yours: Float[Tensor, "layer index"],
    reference: Float[Tensor, "layer index"],
    component: str,
    labels: list[str],
    data: IOIData,
) -> str:
    """Say what the largest difference means: the metric is 0 on the corrupted run and 1 on the clean run."""
    if torch.allclose(yours, reference, **TOLERANCE):
        return f"Your map of {component} equals that of transformer_lens.patching."
    difference = (yours - reference).abs().nan_to_num(torch.inf)
    layer, index = divmod(int(difference.argmax()), difference.shape[1])
    where = f"the position {_position(index, labels, data)}" if labels else f"head {layer}.{index}"
    wanted, found = (100 * float(one[layer, index]) for one in (reference, yours))
    return (
        f"The maps differ most in layer {layer} at {where}: patching {component} there closes {wanted:.0f}% of the gap "
        f"between the logit differences of the corrupted and the clean run, and in your map {found:.0f}%."
    )


def _position(index: int, labels: list[str], data: IOIData) -> str:
    """Name a position by its role, such as S2 or END, where it has one in all prompts, or else by its label."""
    roles = [role for role, positions in data.positions.items() if bool((positions == index).all())]
    return roles[0] if roles else labels[index]
