"""A simulated Cell Painting screen with known mechanisms, strengths and batches.

One record is one field: `image` (h, w, 5) uint16, channels as in
`cellml.data.screen_simulation.CHANNELS`; `labels` (cells) and `nuclei` (the same numbers), (h, w)
uint16; `centres` of the nuclei, (n, 2) float32, y and x; `id`, `plate`, `well`, `site`, `batch`,
`treatment`, `mechanism` and `role` ('treatment' or 'control') as texts; `strength`.
"""
