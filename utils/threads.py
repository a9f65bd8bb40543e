"""How PyTorch's threads wait for each other. Import this before PyTorch, which reads the setting once.

GNU's OpenMP has threads that wait look again and again, some 300,000 times, before they sleep. On a machine with other
work, where the thread that is waited for may not be running, a fast sweep then takes a hundred times as long. With
4,000 looks it takes three times as long there, and no longer than before where the machine is idle.
"""

import os

os.environ.setdefault("GOMP_SPINCOUNT", "4000")
