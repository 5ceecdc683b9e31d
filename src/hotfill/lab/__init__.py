"""The laboratory: training compatible models and maps, small query models, binary encoders.

Needs the extra `train`. The core never imports it.
"""
