"""Fine-tuning of the extractors. Nothing here knows Spark."""
