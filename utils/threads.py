"""How PyTorch's threads wait for each other. Import this before PyTorch, which reads the setting once.

A waiting thread of GNU's OpenMP spins some 300,000 times before it sleeps. On a machine with other
work, where the thread that is waited for may not be running, a fast sweep then takes a hundred times as long. With
4,000 spins it takes three times as long there, and no longer than before where the machine is idle.
"""

import os

os.environ.setdefault("GOMP_SPINCOUNT", "4000")
