"""The one-pass tagger: a backbone, a BIO head a layer, and a linker over the spans found."""
