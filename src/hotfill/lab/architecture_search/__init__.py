"""CMP-NAS (Duggal et al., CVPR 2021): find a small query model for a large model's gallery.

Reading order: `space` (what may be chosen, and what it costs), `evolution` (rewards, the search and
its history), `network` (choices as networks, all of them with shared weights), `gallery_model`
(whom they must agree with), `search` (all of it, from start to end), `search_files` (from files),
`query_embedder` (the found model in use).

`space` and `evolution` need numpy only; networks need torch (extra `train`).
"""
