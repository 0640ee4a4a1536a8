"""placeholder"""


def run_instructions() -> int:
    return 0
