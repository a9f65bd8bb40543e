"""ioi-mini: the workbook's built-in model, a small GPT-2 with the published IOI circuit trained into it.

`model/` is an ordinary Hugging Face folder, whose README.md is the model card; `words.json` lists the names, places and
objects that the model knows. How it was trained and measured stands in `training/`.
"""
