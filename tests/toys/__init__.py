"""Small methods and networks that use every part of the contract.

The laws hold for each of ``TOYS`` as for the methods in conf/method; a new toy is added here.
"""

from tests.toys.methods import ClassMix, Fooling, Projected

TOYS = [ClassMix, Fooling, Projected]
"""Called with a segmenter; every term has the weight 1."""
