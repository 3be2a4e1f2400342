"""A look at a network before training: its normalizations, what is dangerous about them, what others would cost.

>>> print(check(torchvision.models.resnet50(), torch.randn(4, 3, 224, 224)))
"""

from normbench.checking.facts import Row
from normbench.checking.hazards import Hazard
from normbench.checking.looking import check, inputs, size
from normbench.checking.page import Check, price_table, price_text
from normbench.checking.price import Cost, Price

__all__ = ["Check", "Cost", "Hazard", "Price", "Row", "check", "inputs", "price_table", "price_text", "size"]
