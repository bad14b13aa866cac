"""A pretrained start: encoders in the format of Hugging Face, which run on packed sets."""
