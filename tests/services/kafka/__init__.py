"""Apache Kafka as processes of their own on loopback ports, for tests, benchmarks and `make cluster`."""

from tests.services.kafka.broker import Broker, prepare
from tests.services.kafka.jars import BrokerError
from tests.services.kafka.secure import SecureBroker
from tests.services.kafka.topics import create_topics

__all__ = ["Broker", "BrokerError", "SecureBroker", "create_topics", "prepare"]
