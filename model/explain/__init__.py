"""From attention to correspondences to pictures, as pure functions."""
