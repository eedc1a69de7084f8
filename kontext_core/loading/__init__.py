"""Files of weights: what they are, how they become models, how models are saved. Safetensors only."""

from .models import load_transformer, load_vae
from .recognise import FileReport, inspect
from .save import save_model
from .text_encoders import load_text_encoders

__all__ = ["FileReport", "inspect", "load_text_encoders", "load_transformer", "load_vae", "save_model"]
