"""The secret algorithm."""


def price(item):
    return 100 + sum(item.encode()) % 97
