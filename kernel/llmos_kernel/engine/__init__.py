"""Model steps: the seam (`base`) and what stands behind it."""
