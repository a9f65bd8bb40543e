# Annotated and decorated with jaxtyping; position and cache are keyword-only with defaults.
from jaxtyping import Float, jaxtyped
from torch import Tensor


@jaxtyped(typechecker=None)
def patch_residual_component(
    corrupted_residual_component: Float[Tensor, "batch pos d_model"], hook, *, pos: int = 0, clean_cache=None
) -> Float[Tensor, "batch pos d_model"]:
    patched = corrupted_residual_component.clone()
    patched[:, pos, :] = clean_cache[hook.name][:, pos, :]
    return patched
