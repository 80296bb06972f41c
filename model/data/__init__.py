"""Readers of the datasets' layouts on disk, splits and augmentation."""
