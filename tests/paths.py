"""Where the tests find the checkout they belong to."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
