"""Begin as a pretrained model: folders of Hugging Face become adapters and encoders with their weights."""
