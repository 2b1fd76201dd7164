"""Decoder language models as extractors: answers as token ids, drafts that are verified."""
