"""What llmos costs against its peers: one module for each part and for each peer.

Every variant has one compute thread.
"""

import os

# Read by OpenMP when torch is imported, and so by every thread that computes.
os.environ["OMP_NUM_THREADS"] = "1"
