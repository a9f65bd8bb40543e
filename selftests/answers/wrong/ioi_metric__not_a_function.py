# A number where the function should stand.
# message: keep the line `def ioi_metric(...)`
ioi_metric = 0.5
