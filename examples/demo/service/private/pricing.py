"""The secret algorithm, with its model beside it."""

import json
import pathlib

MODEL = json.loads(pathlib.Path(__file__).with_name("model.json").read_text())


def price(item):
    return MODEL["base"] + sum(weight * byte for weight, byte in zip(MODEL["weights"], item.encode()))
