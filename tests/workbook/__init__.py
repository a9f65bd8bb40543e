"""The workbook's own tests: what the notebooks rely on, from the loader to the pages in a browser."""
