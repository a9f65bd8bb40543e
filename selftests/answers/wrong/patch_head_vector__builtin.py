# A function of torch's that takes other arguments.
# message: patch_head_vector runs without an error
import torch

patch_head_vector = torch.clone
