"""The node: configuration, services and command line around the exchange."""
