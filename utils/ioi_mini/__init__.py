"""ioi-mini: the workbook's built-in model, a small GPT-2 with the published IOI circuit trained into it.

`model/` is an ordinary Hugging Face folder; its README.md says what the model is and is not. `train.py`
rebuilds it, `report.py` measures it against the published results for gpt2-small.
"""
