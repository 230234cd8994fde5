"""Quire, an LLM serving engine: its operators for Python. See quire_llm.ops."""

from quire_llm import ops

__all__ = ["ops"]
__version__ = "0.1.0"
