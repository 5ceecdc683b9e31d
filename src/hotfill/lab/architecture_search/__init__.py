"""CMP-NAS (Duggal et al., CVPR 2021): find a small query model for a large model's gallery.

Reading order: `space` (what may be chosen), `layers` (what a choice is made of), `flops` and
`budget` (what it costs), `network` (one choice, as a network), `super_network` (all of them with
shared weights), `gallery_model` and `validation` (whom it must agree with), `reward`, `evolution`
and `history` (the search), `retrain` (the best, from scratch), `search` (all of it, from start to
end), `picture` and `export`.

Space, costs, rewards, evolution and history need numpy only; networks need torch (extra `train`).
"""
