"""The dataflow on Spark and Delta Lake. Models are reached through their Extractor face only."""
