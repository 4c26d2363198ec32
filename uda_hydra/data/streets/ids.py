"""Raw ids of Cityscapes, the numbers in which every scene is drawn."""

from __future__ import annotations

EGO_VEHICLE, STATIC = 1, 4
ROAD, SIDEWALK, BUILDING, WALL, FENCE = 7, 8, 11, 12, 13
POLE, LIGHT, SIGN, VEGETATION, TERRAIN, SKY = 17, 19, 20, 21, 22, 23
PERSON, RIDER, CAR, TRUCK, BUS, TRAIN, MOTORCYCLE, BICYCLE = 24, 25, 26, 27, 28, 31, 32, 33

LANE_MARKING = 40
"""Drawn with an id of its own, which only SYNTHIA keeps: elsewhere it is road."""

THINGS = (PERSON, RIDER, CAR, TRUCK, BUS, TRAIN, MOTORCYCLE, BICYCLE)
"""Classes whose objects are counted one by one."""
