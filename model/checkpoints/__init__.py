"""Files of weights: written, read, named and converted. The bundled ones lie beside.

Imports `model.networks`, `model.backbones`.
"""
