"""The workbook as a small site that needs no network: `python -m preview`."""
