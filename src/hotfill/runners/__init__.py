"""Who runs many workers: each runner starts them, watches them, and starts those again that die."""
