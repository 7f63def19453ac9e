"""Fine-tuning as a job of the server: queued, watched, resumed."""
