"""Print the path of the librdkafka bundled in the confluent_kafka wheel, nothing when it was built from source."""

import importlib.util
from pathlib import Path


def bundled() -> Path | None:
    """The shared library that auditwheel put beside the package, or None."""
    package = importlib.util.find_spec("confluent_kafka")
    if package is None or package.origin is None:
        return None
    folder = Path(package.origin).parents[1] / "confluent_kafka.libs"
    return next(iter(sorted(folder.glob("librdkafka*.so*"))), None)


if __name__ == "__main__":
    print(bundled() or "")
