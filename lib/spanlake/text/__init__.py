"""Raw note text: sentences, sections, line wrapping, CSV records and encodings."""
